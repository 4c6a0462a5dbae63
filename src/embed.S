/* Files that the program carries: the built-in model and the API's description. */
    .section .rodata
    .global embed_model, embed_model_end, embed_openapi, embed_openapi_end
    .balign 4096
embed_model:
    .incbin EMBED_MODEL
embed_model_end:
    .balign 16
embed_openapi:
    .incbin EMBED_OPENAPI
embed_openapi_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
