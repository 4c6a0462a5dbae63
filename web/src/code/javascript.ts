import { indent, KEY_VARIABLE, PATH, pretty, quoted, type CodeRequest } from './request'

const key = (r: CodeRequest) => (r.key ? quoted(r.key) : `process.env.${KEY_VARIABLE}`)

const bearer = (r: CodeRequest) => (r.key ? quoted(`Bearer ${r.key}`) : `\`Bearer \${${key(r)}}\``)

/** Node.js 18 and later, as an ES module (.mjs). */
export function fetchCode(r: CodeRequest): string {
  const head = `const response = await fetch(${quoted(r.origin + PATH)}, {
  method: "POST",
  headers: {
    "Authorization": ${bearer(r)},
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${indent(pretty(r.body), '  ')}),
});
if (!response.ok) throw new Error(\`\${response.status} \${await response.text()}\`);
`
  if (!r.stream)
    return `${head}
const completion = await response.json();
console.log(completion.choices[0].message.content);
`
  return `${head}
const decoder = new TextDecoder();
let text = "";
for await (const bytes of response.body) {
  text += decoder.decode(bytes, { stream: true });
  const lines = text.split("\\n");
  text = lines.pop();
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const event = JSON.parse(line.slice("data: ".length));
    if (event.error) throw new Error(event.error.message);
    for (const choice of event.choices) process.stdout.write(choice.delta.content ?? "");
  }
}
console.log();
`
}

export function openai(r: CodeRequest): string {
  const head = `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${quoted(`${r.origin}/kimi`)},
  apiKey: ${key(r)},
});
`
  const call = `await client.chat.completions.create(${pretty(r.body)});`
  if (!r.stream)
    return `${head}const completion = ${call}
console.log(completion.choices[0].message.content);
`
  return `${head}const stream = ${call}
for await (const chunk of stream) {
  for (const choice of chunk.choices) process.stdout.write(choice.delta.content ?? "");
}
console.log();
`
}
