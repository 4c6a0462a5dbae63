// Certificates for a test, made by the openssl command in a folder of the test's own: an authority
// and, signed by it, one for 127.0.0.1, one for another host and one whose time is over.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe' });
const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function authority(folder, name) {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  const subject = ['-subj', `/CN=${name} of a test`, '-days', '2'];
  openssl('req', '-x509', ...curve, '-keyout', key, '-out', cert, ...subject);
  return { key, cert };
}

function issue(folder, ca, name, host, days) {
  const at = (suffix) => join(folder, `${name}.${suffix}`);
  writeFileSync(at('ext'), `subjectAltName=${host}\n`);
  openssl('req', ...curve, '-keyout', at('key'), '-out', at('csr'), '-subj', `/CN=${name}`);
  const signed = ['-CA', ca.cert, '-CAkey', ca.key, '-CAcreateserial', '-extfile', at('ext')];
  openssl('x509', '-req', '-in', at('csr'), '-out', at('pem'), ...signed, '-days', String(days));
  return { key: readFileSync(at('key')), cert: readFileSync(at('pem')) };
}

/** {caFile, good, otherHost, expired, strange}: options of node:tls, but for caFile, a path. */
export function certificates(folder) {
  const ca = authority(folder, 'authority');
  const stranger = authority(folder, 'stranger');
  return {
    caFile: ca.cert,
    good: issue(folder, ca, 'good', 'IP:127.0.0.1,DNS:localhost', 2),
    otherHost: issue(folder, ca, 'other', 'DNS:elsewhere.example', 2),
    expired: issue(folder, ca, 'expired', 'IP:127.0.0.1', -1),
    strange: issue(folder, stranger, 'strange', 'IP:127.0.0.1', 2),
  };
}
