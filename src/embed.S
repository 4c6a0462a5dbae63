/* Files that the program carries: the built-in model, the API's description, the console's pages. */
    .section .rodata
    .global embed_model, embed_model_end, embed_openapi, embed_openapi_end
    .global embed_pages, embed_pages_end
    .balign 4096
embed_model:
    .incbin EMBED_MODEL
embed_model_end:
    .balign 16
embed_openapi:
    .incbin EMBED_OPENAPI
embed_openapi_end:
    .byte 0
    .balign 16
embed_pages:
#ifdef EMBED_PAGES
    .incbin EMBED_PAGES
#else
    .ascii "MGPAGES1" /* an archive without files */
    .quad 0
#endif
embed_pages_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
