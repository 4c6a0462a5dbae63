/*
 * A disk that fails on purpose, for tests of what survives. Private to the room.
 */
#ifndef MOONGATE_STORE_FAULT_VFS_H
#define MOONGATE_STORE_FAULT_VFS_H

/* The name of the file system that SQLite is to open its files with; NULL (the system's own)
 * unless the environment asks for faults. See fault_vfs.c. */
const char *fault_vfs(void);

#endif
