// Who is logged in. The platform's log-in leaves its token in the cookie jwt, and so does the demo's. What is read out of
// the token here is for showing only: the server checks every request.

const cookie = 'jwt=';
let refused = '';

// token is the token in the cookie, unless it was refused.
export function token() {
  const found = document.cookie.split('; ').find((pair) => pair.startsWith(cookie))?.slice(cookie.length) ?? '';
  return found === refused ? '' : found;
}

// refuse lets the token count for nothing any more: the server has refused it.
export function refuse() {
  refused = token() || refused;
}

// user is {id, name, ops}, or null when nobody is logged in.
export function user() {
  const claims = payload(token());
  if (!claims) return null;
  let who = {};
  try {
    who = JSON.parse(claims.user_name ?? '{}');
  } catch {
    return null;
  }
  const id = String(who.id ?? claims.sub ?? '');
  if (!id) return null;
  const known = JSON.parse(sessionStorage.getItem('name') ?? 'null');
  const name = known?.id === id ? known.name : who.nickname || who.name || who.username || id;
  return {id, name, ops: Array.isArray(claims.authorities) && claims.authorities.includes('ops')};
}

// rememberName keeps what a demo user is called: the token holds the id alone.
export function rememberName(id, name) {
  sessionStorage.setItem('name', JSON.stringify({id, name}));
}

// forget logs out here: a cookie of another domain, which cannot be taken away, is not looked at any more.
export function forget() {
  refuse();
  document.cookie = `${cookie}; Path=/; Max-Age=0; SameSite=Lax`;
  sessionStorage.clear();
}

export const demo = document.documentElement.hasAttribute('data-demo');

function payload(text) {
  try {
    const part = text.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}
