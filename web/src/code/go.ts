import { KEY_VARIABLE, PATH, pretty, quoted, type CodeRequest } from './request'

/** A raw string has no escapes, so the one character it cannot hold is written as JSON's. */
const raw = (json: string) => `\`${json.replace(/`/g, '\\u0060')}\``

const choices = (inner: string) => `struct {
		Choices []struct {
			${inner} struct{ Content string }
		}
		Error *struct{ Message string }
	}`

export function go(r: CodeRequest): string {
  const packages = ['encoding/json', 'fmt', 'io', 'log', 'net/http', 'strings',
    ...(r.key ? [] : ['os']), ...(r.stream ? ['bufio'] : [])].sort()
  const key = r.key ? quoted(r.key) : `os.Getenv("${KEY_VARIABLE}")`
  const read = r.stream
    ? `	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\\n')
		if data, found := strings.CutPrefix(strings.TrimSpace(line), "data: "); found && data != "[DONE]" {
			var event ${choices('Delta').replace(/\n/g, '\n\t\t')}
			if err := json.Unmarshal([]byte(data), &event); err != nil {
				log.Fatal(err)
			}
			if event.Error != nil {
				log.Fatal(event.Error.Message)
			}
			for _, choice := range event.Choices {
				fmt.Print(choice.Delta.Content)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println()`
    : `	var completion ${choices('Message')}
	if err := json.NewDecoder(response.Body).Decode(&completion); err != nil {
		log.Fatal(err)
	}
	fmt.Println(completion.Choices[0].Message.Content)`
  return `package main

import (
${packages.map((name) => `\t"${name}"\n`).join('')})

const body = ${raw(pretty(r.body))}

func main() {
	request, err := http.NewRequest("POST", ${quoted(r.origin + PATH)}, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+${key})
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		log.Fatal(response.Status, " ", string(text))
	}
${read}
}
`
}
