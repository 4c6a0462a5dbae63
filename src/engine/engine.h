/*
 * The engine's face: open weights in this process. No HTTP, no SQL, no event loop.
 *
 * An engine owns a mapped GGUF file, the KV cache, two threads of its own (one that renders and
 * tokenises prompts, one that schedules) and a pool of compute threads. Any thread may submit
 * and cancel; what happens comes back as events in a mailbox that the opener watches. A job is
 * known by a number that its submitter chose; after engine_cancel, events of that number may
 * still arrive until its ENGINE_END.
 *
 * Model family: GGUF architecture `deepseek2` (Moonlight, Kimi K2, K2-Thinking, the text part of
 * K2.5 and K2.6). Formulas: the DeepSeek-V2 and V3 papers (MLA, routing), the YaRN paper.
 */
#ifndef MOONGATE_ENGINE_ENGINE_H
#define MOONGATE_ENGINE_ENGINE_H

#include "base/error.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct mailbox;

struct engine_options {
    const char *gguf_path;  /* NULL: read the bytes below */
    const void *gguf_bytes; /* a model that lives in memory; must outlive the engine */
    size_t gguf_len;
    int threads;         /* compute threads; 0 takes the machine's cores */
    int sequences;       /* decoded together; a choice of a call is one sequence */
    int queue;           /* jobs that may wait for a sequence */
    int chunk_tokens;    /* prompt tokens evaluated in one step */
    int kv_tokens;       /* size of the KV cache in tokens, shared by all sequences */
    bool kv_f32;         /* F32 cache instead of F16 */
    const char *kernels; /* "auto", "scalar", "avx2", "avx512", "avx512vnni" */
    bool yarn_beta_file; /* take YaRN's beta_fast/slow from the file instead of 32/1 */
    void (*progress)(void *arg, const char *what, int percent); /* may be NULL */
    void *progress_arg;
};

struct engine_info {
    const char *name; /* general.name, or the file's name */
    const char *architecture;
    const char *kernels; /* the set in use */
    const char *weights; /* most common matrix type: "Q8_0" */
    uint64_t parameters, file_bytes;
    int layers, vocabulary;
    int context_tokens; /* the most tokens that prompt and reply may have together */
    bool thinks;        /* the chat template knows reasoning */
    float temperature;  /* that the file recommends (general.sampling.temp), or -1 */
    int threads, sequences;
};

enum engine_role { ENGINE_SYSTEM, ENGINE_USER, ENGINE_ASSISTANT, ENGINE_TOOL };

struct engine_text {
    const char *data; /* UTF-8, not NUL-terminated by contract */
    size_t len;
};

struct engine_message {
    enum engine_role role;
    struct engine_text name; /* empty: the role's own word */
    struct engine_text content;
    struct engine_text reasoning;    /* of an assistant turn; may be empty */
    struct engine_text tool_call_id; /* of a tool result */
    bool partial;                    /* last assistant message: the reply continues it */
};

struct engine_bias {
    int32_t token;
    float bias; /* added to the logit before everything else */
};

struct engine_sampling {
    float temperature;                         /* 0 takes the most likely token */
    float top_p;                               /* 1 keeps all; acts after the temperature */
    int top_k;                                 /* 0 keeps all */
    float min_p;                               /* 0 keeps all */
    float presence_penalty, frequency_penalty; /* over generated tokens */
    uint64_t seed;
    const struct engine_bias *bias;
    size_t n_bias;
};

/* One call. Everything it points to lives in its arena; engine_submit takes the job over. */
struct engine_job {
    struct arena *arena;
    uint64_t number; /* chosen by the submitter, unique among its running jobs */
    uint64_t owner;  /* turns are fair among owners (a key's number) */
    const struct engine_message *messages;
    size_t n_messages;
    bool thinking;       /* wanted, where the template has the choice */
    bool keep_reasoning; /* of all earlier turns, where the template knows reasoning */
    bool count_only;     /* only tokenise: ENGINE_STARTED with the count, then ENGINE_END */
    int choices;         /* 1 or more */
    int max_tokens;      /* of each choice, reasoning included; 0 takes what the context leaves */
    int context_tokens;  /* ceiling of this call's model row; 0 is the engine's own */
    struct engine_sampling sampling;
    const struct engine_text *stops;
    size_t n_stops;
    bool logprobs;
    int top_logprobs; /* 0 to 20 */
};

struct engine_job *engine_job_new(void);
void engine_job_free(struct engine_job *job); /* only if it was never submitted */

enum engine_event_kind {
    ENGINE_STARTED, /* the prompt is accepted: prompt_tokens; cached_tokens once it is prefilled */
    ENGINE_PIECE,   /* text of one choice */
    ENGINE_FINISH,  /* a choice is complete */
    ENGINE_END      /* the job is over: code 0, or why; nothing follows */
};

enum engine_finish { ENGINE_FINISH_STOP, ENGINE_FINISH_LENGTH };

/* One token's log-probabilities, as OpenAI's API gives them: natural logarithm, of the raw
 * distribution (before temperature and truncation). */
struct engine_logprob {
    int32_t token;
    float logprob;
    char *bytes; /* the token's bytes, not NUL-terminated */
    size_t n_bytes;
    struct engine_logprob *top; /* the most likely first */
    size_t n_top;
};

struct engine_piece {
    bool reasoning; /* else content */
    size_t len;
    const char *text;                /* whole UTF-8 characters */
    struct engine_logprob *logprobs; /* of the content tokens that became final, or NULL */
    size_t n_logprobs;
};

struct engine_event {
    uint64_t number;
    enum engine_event_kind kind;
    int choice;
    enum engine_finish finish;
    struct arena *piece_arena; /* ENGINE_PIECE: owns piece; freed by the receiver */
    const struct engine_piece *piece;
    int prompt_tokens, cached_tokens;        /* STARTED, END; also in an ERR_LIMIT END */
    int completion_tokens, reasoning_tokens; /* END: of all choices */
    int limit_tokens;                        /* END with ERR_LIMIT: the context */
    int code;                                /* END: 0 or ERR_* */
    char text[160];                          /* END: for people, if code is not 0 */
};

/* What the scheduler is doing now, for readiness and metrics; any thread. */
struct engine_load {
    int running, waiting;                                           /* sequences, jobs */
    uint64_t prompt_tokens, cached_tokens, generated_tokens, steps; /* since start */
};

/* Loads the model and starts the threads. Events are posted to `events`, a mailbox of
 * struct engine_event that must outlive the engine. */
int engine_open(const struct engine_options *o, struct mailbox *events, struct engine **out,
                struct error *e);
void engine_close(struct engine *g); /* cancels what runs; accepts NULL */
const struct engine_info *engine_info(const struct engine *g);
void engine_load(const struct engine *g, struct engine_load *out);

/* Takes the job over in either case. ERR_BUSY: the queue is full. */
int engine_submit(struct engine *g, struct engine_job *job, struct error *e);
void engine_cancel(struct engine *g, uint64_t number);

#endif
