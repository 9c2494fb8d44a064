// Talking to the API. A call that may be repeated is repeated with growing pauses while the API is away, for instance
// because it restarts; a banner says so meanwhile.

import {token} from './session.js';
import {t, errorText} from './words.js';

// Refused is an answer that is not a success: its text is for the user, its code for programs.
export class Refused extends Error {
  constructor(status, body) {
    super(errorText(body));
    this.status = status;
    this.code = body?.code ?? '';
  }
}

const pauses = [400, 800, 1500, 3000, 5000];
const away = new Set(); // the calls that wait for the API
const gateway = [502, 503, 504];

let ahead = 0; // how many milliseconds the server's clock is ahead of this one

// now is the server's time, whatever this machine's clock says.
export const now = () => Date.now() + ahead;

// call asks the API and gives the answer's JSON. Options: method, body (sent as JSON), key (Idempotency-Key), signal,
// repeat: false for what must not be sent twice, patience: for how many milliseconds to repeat.
export async function call(path, options = {}) {
  const {repeat = true, patience = 120_000} = options;
  const end = Date.now() + patience;
  const mark = {};
  try {
    for (let i = 0; ; i++) {
      const fault = await once(path, options);
      if ('answer' in fault) return fault.answer;
      if (!repeat || Date.now() > end) throw fault.error;
      away.add(mark);
      showBanner();
      await pause(pauses[Math.min(i, pauses.length - 1)], options.signal);
    }
  } finally {
    away.delete(mark);
    showBanner();
  }
}

// once gives {answer}, or {error} when it is worth another try; it throws what is final.
async function once(path, {method = 'GET', body, key, signal}) {
  const headers = {Accept: 'application/json'};
  const jwt = token();
  if (jwt) headers.Authorization = `Bearer ${jwt}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  let response;
  let text;
  try {
    response = await fetch(path, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store',
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    return {error: new Refused(0, {code: 'OFFLINE'})};
  }
  keepTime(response);
  const answer = parse(text);
  if (response.ok && answer !== undefined) return {answer};
  const error = new Refused(response.status, answer);
  if (gateway.includes(response.status) || response.ok) return {error};
  if (response.status === 401 && jwt) document.dispatchEvent(new Event('loggedout'));
  throw error;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function keepTime(response) {
  const told = Date.parse(response.headers.get('Date') ?? '');
  if (told && Math.abs(told - now()) > 2000) ahead = told - Date.now(); // the header counts whole seconds
}

// showBanner lays the banner over everything, an open dialog and its dimmed ground too.
function showBanner() {
  const banner = document.getElementById('banner');
  banner.hidden = away.size === 0;
  if (banner.hidden) return;
  if (banner.textContent !== t('reconnecting')) banner.textContent = t('reconnecting');
  if (document.querySelector('dialog')) banner.hidePopover();
  if (!banner.matches(':popover-open')) banner.showPopover();
}

// pause waits, unless the signal ends it early by an error.
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal?.addEventListener('abort', stop, {once: true});
  });
}

// newKey names one request, so that its repeats are known as the same.
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}

// query makes "?a=1&b=2" of what is not empty.
export function query(values) {
  const filled = Object.entries(values).filter(([, value]) => value !== '' && value != null);
  return filled.length ? `?${new URLSearchParams(filled)}` : '';
}
