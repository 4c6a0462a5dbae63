/** Where Scalar's API reference lies (vite.config.ts). */
declare const __SCALAR__: string
