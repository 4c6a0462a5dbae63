"""Upstreams that fail at random, for the soak: servers of chat completions in one asyncio loop.

Each server has a mood that changes now and then: mostly good, mostly bad, or away (nobody
listens). A request gets a good reply or one of FAULTS, drawn by the mood. The events of a stream
carry numbers ("w1 w2 ...") so that a client can tell a lost or doubled one.
"""

import asyncio
import json
import socket
import struct

MOODS = (("good", 0.08, 6), ("shaky", 0.35, 3), ("bad", 0.85, 1), ("away", 1, 1))
SECRET = "sk-soak-0123456789abcdef0123456789" # the servers' key; must never be seen elsewhere


class Cut(Exception):
    """The reply ends here: the connection is closed as it is."""


def head(status, kind="application/json", *fields):
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def sized(status, body, kind="application/json", *fields):
    body = body if isinstance(body, bytes) else body.encode()
    return head(status, kind, f"Content-Length: {len(body)}", *fields) + body


def error(message, kind="invalid_request_error"):
    return json.dumps({"error": {"message": message, "type": kind, "code": None}})


def chunk(data):
    data = data if isinstance(data, bytes) else data.encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(value):
    return chunk("data: " + (value if isinstance(value, str) else json.dumps(value)) + "\n\n")


def delta(fields, finish=None, **more):
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": fields, "finish_reason": finish}], **more}


def usage(n):
    return {"prompt_tokens": 7, "completion_tokens": n, "total_tokens": 7 + n}


class Exchange:
    """One request and what is written for it."""

    def __init__(self, server, writer, body):
        self.random, self.writer, self.body = server.random, writer, body
        self.stream = bool(body.get("stream"))

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def begin(self):
        await self.send(head(200, "text/event-stream", "Transfer-Encoding: chunked"))
        await self.send(event(delta({"role": "assistant", "content": ""})))

    async def words(self, first, last, gap):
        for i in range(first, last):
            await self.send(event(delta({"content": f"w{i} "})))
            if gap:
                await asyncio.sleep(gap)

    async def end(self, n, done=True, count=True):
        more = {"usage": usage(n)} if count else {}
        await self.send(event(delta({}, "stop", **more)))
        if done:
            await self.send(event("[DONE]"))
        await self.send(b"0\r\n\r\n")

    def whole(self, n, count=True):
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m",
                 "choices": [{"index": 0, "finish_reason": "stop", "message": {
                     "role": "assistant", "content": " ".join(f"w{i}" for i in range(1, n + 1))}}]}
        if count:
            reply["usage"] = usage(n)
        return sized(200, json.dumps(reply))

    def reset(self):
        s = self.writer.get_extra_info("socket")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise Cut

    # --- good replies ---

    async def good(self):
        n, gap = self.random.randint(1, 60), self.random.choice((0, 0, 0.002, 0.02))
        count = self.random.random() < 0.8
        if not self.stream:
            await asyncio.sleep(self.random.choice((0, 0, 0.05, 0.3)))
            await self.send(self.whole(n, count))
            return
        await self.begin()
        await self.words(1, n + 1, gap)
        await self.end(n, self.random.random() < 0.9, count)

    async def odd(self):
        """Good, in pieces of all sizes, with comments, CRLF and long lines."""
        if not self.stream:
            data = self.whole(2000)
        else:
            n, data = 20, b"".join(chunk(f"data: {json.dumps(delta({'content': f'w{i} '}))}\r\n\r\n")
                                   for i in range(1, 21))
            data = (head(200, "text/event-stream", "Transfer-Encoding: chunked")
                    + chunk(": hello\n\nevent: message\n") + data
                    + event(delta({"content": "", "x_long": "y" * 100000}))
                    + event(delta({}, "stop", usage=usage(n))) + event("[DONE]") + b"0\r\n\r\n")
        while data:
            n = self.random.choice((1, 7, 100, 5000, 20000))
            await self.send(data[:n])
            data = data[n:]
            if self.random.random() < 0.2:
                await asyncio.sleep(0.001)

    # --- faults ---

    async def reset_at_once(self):
        self.reset()

    async def close_at_once(self):
        raise Cut

    async def half_a_head(self):
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
        raise Cut

    async def reset_behind_the_head(self):
        await self.send(head(200, "text/event-stream", "Transfer-Encoding: chunked"))
        await asyncio.sleep(0.01)
        self.reset()

    async def no_word(self):
        await asyncio.sleep(6)
        raise Cut

    async def garbage(self):
        await self.send(self.random.randbytes(3000))
        raise Cut

    async def page(self):
        page = "<!doctype html><html><h1>502 Bad Gateway</h1>" + "x" * 3000 + "</html>"
        await self.send(sized(self.random.choice((200, 502)), page, "text/html"))

    async def no_reply(self):
        await self.send(sized(200, self.random.choice(("null", "{}", "", "[]", '{"choices": 5}'))))

    async def refusal(self):
        status = self.random.choice((400, 401, 403, 404, 413, 422))
        text = self.random.choice((error(f"no, and the key was {SECRET}"),
                                   '{"detail": "bare"}', "not JSON", ""))
        await self.send(sized(status, text))

    async def too_many(self):
        seconds = self.random.choice(("1", "0", "soon", "100000"))
        await self.send(sized(self.random.choice((429, 503)), error("slow down"),
                              "application/json", f"Retry-After: {seconds}"))

    async def broken(self):
        await self.send(sized(self.random.choice((500, 502, 503, 504)), error("oh", "api_error")))

    async def short_body(self):
        await self.send(head(200, "application/json", "Content-Length: 5000") + b'{"choices":')
        raise Cut

    async def long_body(self):
        await self.send(head(200))
        for _ in range(400):
            await self.send(b" " * 10000)
        raise Cut

    async def endless_head(self):
        await self.send(b"HTTP/1.1 200 OK\r\n")
        for i in range(1000):
            await self.send(f"X-{i}: {'y' * 200}\r\n".encode())
        raise Cut

    async def slow_body(self):
        for byte in self.whole(10)[:60]:
            await self.send(bytes([byte]))
            await asyncio.sleep(0.02)
        raise Cut

    async def cut_stream(self):
        await self.begin()
        await self.words(1, self.random.randint(2, 30), 0.001)
        if self.random.random() < 0.5:
            self.reset()
        raise Cut

    async def half_an_event(self):
        await self.begin()
        await self.words(1, 5, 0)
        await self.send(b"100\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xe2\x82")
        raise Cut

    async def silent_stream(self):
        await self.begin()
        await self.words(1, 5, 0)
        await asyncio.sleep(6)
        raise Cut

    async def no_finish(self):
        await self.begin()
        await self.words(1, 5, 0)
        await self.send(event("[DONE]") + b"0\r\n\r\n")

    async def gives_up(self):
        await self.begin()
        await self.words(1, 5, 0)
        await self.send(event(delta({}, self.random.choice(("abort", "error")))))
        await self.send(event("[DONE]") + b"0\r\n\r\n")

    async def error_event(self):
        await self.begin()
        await self.words(1, self.random.choice((1, 5)), 0)
        await self.send(event(error("in the stream", "server_error")) + b"0\r\n\r\n")

    async def broken_event(self):
        await self.begin()
        await self.words(1, 3, 0)
        await self.send(event('{"choices":[{"index":') + event("[DONE]") + b"0\r\n\r\n")

    async def broken_chunk(self):
        await self.begin()
        await self.send(b"zz\r\nwhat is this")
        raise Cut

    async def long_event(self):
        await self.begin()
        await self.send(b"500000\r\ndata: ")
        for _ in range(100):
            await self.send(b"x" * 10000)
        raise Cut


def _methods(names):
    return [getattr(Exchange, name) for name in names.split()]


ANY = _methods("reset_at_once close_at_once half_a_head no_word garbage page no_reply refusal "
               "too_many broken short_body long_body endless_head slow_body")
STREAM = _methods("reset_behind_the_head cut_stream half_an_event silent_stream no_finish "
                  "gives_up error_event broken_event broken_chunk long_event")


class Server:
    """One upstream on a port of its own."""

    def __init__(self, random):
        self.random, self.mood, self.listener, self.port = random, MOODS[0], None, 0
        self.strange, self.writers = 0, set() # strange: requests without our key

    async def listen(self):
        self.listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port,
                                                   limit=1 << 22)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def change_mood(self, mood=None):
        self.mood = mood or self.random.choices(MOODS, [m[2] for m in MOODS])[0]
        if self.mood[0] == "away" and self.listener:
            self.listener.close()
            self.listener = None
            self.hang_up()
        elif self.mood[0] != "away" and not self.listener:
            await self.listen()

    def hang_up(self):
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while True:
                top = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in top.lower().split(b"\r\n")
                          if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                await self._answer(writer, top, body)
        except (Cut, OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _answer(self, writer, top, body):
        if not body: # GET /v1/models
            writer.write(sized(200, '{"object":"list","data":[]}'))
            await writer.drain()
            return
        if f"Bearer {SECRET}".encode() not in top:
            self.strange += 1
        x = Exchange(self, writer, json.loads(body))
        if self.random.random() < self.mood[1]:
            fault = self.random.choice(ANY + STREAM if x.stream else ANY)
            await fault(x)
        elif self.random.random() < 0.1:
            await x.odd()
        else:
            await x.good()
