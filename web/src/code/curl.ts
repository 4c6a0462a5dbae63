// curl, by Scalar's generator; what it cannot know is put in afterwards.
import { shellCurl } from '@scalar/snippetz/plugins/shell/curl'
import { KEY_VARIABLE, PATH, pretty, visible, type CodeRequest } from './request'

const MARK = 'Authorization: Bearer KEY'

export function curl(r: CodeRequest): string {
  const code = shellCurl.generate({
    method: 'POST',
    url: r.origin + PATH,
    headers: [
      { name: 'Authorization', value: 'Bearer KEY' },
      { name: 'Content-Type', value: 'application/json' },
    ],
    postData: { mimeType: 'application/json', text: pretty(r.body) },
  })
  const key = r.key ? `'Authorization: Bearer ${r.key}'` : `"Authorization: Bearer $${KEY_VARIABLE}"`
  return visible(code)
    .replace('curl ', r.stream ? 'curl --no-buffer ' : 'curl ')
    .replace(`'${MARK}'`, () => key)
}
