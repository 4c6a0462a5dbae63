// The program's log, where log.format is json.
import { until } from './server.mjs';

/** The lines of the log that are JSON, parsed. */
export function logLines(server) {
  return server.log
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line));
}

/** The access line of an answer, once it is there. */
export function callLine(server, answer) {
  const id = answer.headers['x-trace-id'];
  return until(
    () => logLines(server).find((line) => line.event === 'call' && line.trace_id === id),
    'the line of a call',
  );
}
