/*
 * Files that the program carries (embed.S): from the first symbol up to the second. Read-only.
 */
#ifndef MOONGATE_EMBED_H
#define MOONGATE_EMBED_H

extern const char embed_model[], embed_model_end[];     /* GGUF, page-aligned */
extern const char embed_openapi[], embed_openapi_end[]; /* JSON */
extern const char embed_pages[], embed_pages_end[];     /* console/pages.h's archive */

#endif
