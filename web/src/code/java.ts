// Java 17 with what the JDK brings. It has no reader of JSON, so events are printed as they come.
import { KEY_VARIABLE, PATH, prettyAscii, quoted, type CodeRequest } from './request'

// A constant of a class file has at most 65,535 bytes.
const CONSTANT_CHARS = 30000

/** A text block; a very long body is put together from pieces. */
function bodyLiteral(json: string): string {
  if (json.length <= CONSTANT_CHARS) {
    const lines = json.replace(/\\/g, '\\\\').replace(/"""/g, '""\\"')
    return `"""\n${lines.replace(/^/gm, '            ')}"""`
  }
  const pieces: string[] = []
  for (let at = 0; at < json.length; at += CONSTANT_CHARS)
    pieces.push(JSON.stringify(json.slice(at, at + CONSTANT_CHARS)))
  return `String.join("",\n            ${pieces.join(',\n            ')})`
}

export function java(r: CodeRequest): string {
  const key = r.key ? quoted(r.key) : `System.getenv("${KEY_VARIABLE}")`
  const imports = ['java.io.PrintStream', 'java.net.URI', 'java.net.http.HttpClient',
    'java.net.http.HttpRequest', 'java.net.http.HttpResponse', 'java.nio.charset.StandardCharsets']
  const read = r.stream
    ? `        var response = client.send(request, HttpResponse.BodyHandlers.ofLines());
        response.body()
            .filter(line -> response.statusCode() != 200 || line.startsWith("data: "))
            .map(line -> line.startsWith("data: ") ? line.substring("data: ".length()) : line)
            .takeWhile(line -> !line.equals("[DONE]"))
            .forEach(out::println);`
    : `        var response = client.send(request, HttpResponse.BodyHandlers.ofString());
        out.println(response.body());`
  return `${imports.map((name) => `import ${name};\n`).join('')}
public class Main {
    public static void main(String[] args) throws Exception {
        String body = ${bodyLiteral(prettyAscii(r.body))};
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest request = HttpRequest.newBuilder(URI.create(${quoted(r.origin + PATH)}))
            .header("Authorization", "Bearer " + ${key})
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
${read}
        if (response.statusCode() != 200) System.exit(1);
    }
}
`
}
