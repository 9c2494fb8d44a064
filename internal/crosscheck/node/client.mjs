// Alipay's own client behind a pipe. Every line on stdin is a question, {"id", "op", "config", …}; every line on stdout
// is the answer to one, {"id", "result"} or {"id", "error"}, in whatever order they get ready. It ends with its stdin.
// The one argument is the folder whose node_modules has the SDK.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const { AlipaySdk } = createRequire(join(process.argv[2], 'package.json'))('alipay-sdk');

const sdks = new Map();
function sdkFor(config) {
  const key = JSON.stringify(config);
  if (!sdks.has(key)) sdks.set(key, new AlipaySdk(config));
  return sdks.get(key);
}

// What a body parser of a Node server makes of a form.
const fieldsOf = form => Object.fromEntries(new URLSearchParams(form));

const operations = {
  exec: (sdk, q) => sdk.exec(q.method, q.params, { validateSign: true }),
  page: (sdk, q) => sdk.pageExecute(q.method, q.verb, q.params),
  checkNotifySign: (sdk, q) => sdk.checkNotifySign(fieldsOf(q.form)),
  checkNotifySignV2: (sdk, q) => sdk.checkNotifySignV2(fieldsOf(q.form)),
};

async function answer(line) {
  const { id, op, config, ...question } = JSON.parse(line);
  try {
    return { id, result: await operations[op](sdkFor(config), question) };
  } catch (error) {
    return { id, error: String(error?.message ?? error) };
  }
}

createInterface({ input: process.stdin }).on('line', async line => {
  process.stdout.write(JSON.stringify(await answer(line)) + '\n');
});
