import { indent, KEY_VARIABLE, PATH, python, quoted, type CodeRequest, type Json } from './request'

const key = (r: CodeRequest) => (r.key ? quoted(r.key) : `os.environ["${KEY_VARIABLE}"]`)

const bearer = (r: CodeRequest) => (r.key ? quoted(`Bearer ${r.key}`) : `"Bearer " + ${key(r)}`)

const imports = (r: CodeRequest, names: string[]) =>
  [...names, ...(r.key ? [] : ['os'])].sort().map((name) => `import ${name}\n`).join('')

export function requests(r: CodeRequest): string {
  const head = `${imports(r, r.stream ? ['json', 'sys'] : ['sys'])}
import requests

url = ${quoted(r.origin + PATH)}
headers = {"Authorization": ${bearer(r)}}
payload = ${python(r.body)}

`
  if (!r.stream)
    return `${head}response = requests.post(url, json=payload, headers=headers)
if not response.ok:
    sys.exit(f"{response.status_code} {response.text}")
print(response.json()["choices"][0]["message"]["content"])
`
  return `${head}with requests.post(url, json=payload, headers=headers, stream=True) as response:
    if not response.ok:
        sys.exit(f"{response.status_code} {response.text}")
    for line in response.iter_lines():
        if not line.startswith(b"data: "):
            continue
        data = line[len(b"data: "):]
        if data == b"[DONE]":
            break
        event = json.loads(data)
        if "error" in event:
            sys.exit(event["error"]["message"])
        for choice in event["choices"]:
            print(choice["delta"].get("content") or "", end="", flush=True)
print()
`
}

// What the package's create() takes by name; the rest goes through extra_body.
const named = new Set(['model', 'messages', 'stream', 'stream_options', 'n', 'max_tokens',
  'max_completion_tokens', 'temperature', 'top_p', 'presence_penalty', 'frequency_penalty', 'seed',
  'stop', 'logit_bias', 'logprobs', 'top_logprobs', 'reasoning_effort', 'response_format', 'tools',
  'tool_choice', 'parallel_tool_calls', 'modalities', 'prediction', 'user', 'service_tier', 'store',
  'metadata'])

export function openai(r: CodeRequest): string {
  const entries = Object.entries(r.body)
  const extra = Object.fromEntries(entries.filter(([name]) => !named.has(name)))
  const line = (name: string, value: Json) => `    ${name}=${indent(python(value), '    ')},\n`
  const args = entries.filter(([name]) => named.has(name)).map(([name, value]) => line(name, value))
  if (Object.keys(extra).length) args.push(line('extra_body', extra))
  const head = `${r.key ? '' : 'import os\n\n'}from openai import OpenAI

client = OpenAI(base_url=${quoted(`${r.origin}/kimi`)}, api_key=${key(r)})
`
  const call = `client.chat.completions.create(\n${args.join('')})`
  if (!r.stream)
    return `${head}completion = ${call}
print(completion.choices[0].message.content)
`
  return `${head}stream = ${call}
for chunk in stream:
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
`
}
