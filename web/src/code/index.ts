// The code beside the form, in each language: the very request, ready to run.
import { c } from './c'
import { curl } from './curl'
import { go } from './go'
import { java } from './java'
import { fetchCode, openai as openaiJs } from './javascript'
import { php } from './php'
import { openai as openaiPy, requests } from './python'
import type { CodeRequest } from './request'

export interface Snippet {
  id: string
  name: string
  /** The name of the file that it would be saved as. */
  file: string
  write: (r: CodeRequest) => string
}

export const snippets: Snippet[] = [
  { id: 'curl', name: 'curl', file: 'call.sh', write: curl },
  { id: 'python', name: 'Python', file: 'call.py', write: requests },
  { id: 'python-openai', name: 'Python · openai', file: 'call.py', write: openaiPy },
  { id: 'javascript', name: 'Node.js', file: 'call.mjs', write: fetchCode },
  { id: 'javascript-openai', name: 'Node.js · openai', file: 'call.mjs', write: openaiJs },
  { id: 'java', name: 'Java', file: 'Main.java', write: java },
  { id: 'go', name: 'Go', file: 'main.go', write: go },
  { id: 'php', name: 'PHP', file: 'call.php', write: php },
  { id: 'c', name: 'C', file: 'main.c', write: c },
]
