import { KEY_VARIABLE, PATH, pretty, type CodeRequest } from './request'

const single = (s: string) => `'${s.replace(/[\\']/g, '\\$&')}'`

export function php(r: CodeRequest): string {
  const key = r.key ? single(r.key) : `getenv(${single(KEY_VARIABLE)})`
  const head = `<?php
$body = <<<'JSON'
${pretty(r.body)}
JSON;

$curl = curl_init(${single(r.origin + PATH)});
curl_setopt_array($curl, [
    CURLOPT_POST => true,
    CURLOPT_POSTFIELDS => $body,
    CURLOPT_HTTPHEADER => [
        'Authorization: Bearer ' . ${key},
        'Content-Type: application/json',
    ],
`
  if (!r.stream)
    return `${head}    CURLOPT_RETURNTRANSFER => true,
]);
$answer = curl_exec($curl);
if ($answer === false || curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 200) {
    fwrite(STDERR, ($answer ?: curl_error($curl)) . "\\n");
    exit(1);
}
echo json_decode($answer, true)['choices'][0]['message']['content'], "\\n";
`
  return `${head}]);
$rest = '';
curl_setopt($curl, CURLOPT_WRITEFUNCTION, function ($curl, $bytes) use (&$rest) {
    if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 200) {
        fwrite(STDERR, $bytes);
        return strlen($bytes);
    }
    $lines = explode("\\n", $rest . $bytes);
    $rest = array_pop($lines);
    foreach ($lines as $line) {
        if (strncmp($line, 'data: ', 6) !== 0 || $line === 'data: [DONE]') {
            continue;
        }
        $event = json_decode(substr($line, 6), true);
        if (isset($event['error'])) {
            fwrite(STDERR, $event['error']['message'] . "\\n");
        }
        foreach ($event['choices'] ?? [] as $choice) {
            echo $choice['delta']['content'] ?? '';
            flush();
        }
    }
    return strlen($bytes);
});
$good = curl_exec($curl) && curl_getinfo($curl, CURLINFO_RESPONSE_CODE) === 200;
echo "\\n";
exit($good ? 0 : 1);
`
}
