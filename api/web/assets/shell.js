// What both pages have around their content: language, log-in, and the way from an address to a view.

import {h, show, openDialog, busyButton} from './dom.js';
import {call} from './http.js';
import {t, errorText, language, setLanguage} from './words.js';
import {user, forget, refuse, demo, rememberName} from './session.js';

const main = document.getElementById('main');
const operating = document.body.classList.contains('ops');
let views = {};
let leaving = new AbortController();

// start shows the view that the address names, now and whenever it changes. A view is an async function of ({signal,
// parts, search}) that returns {title, content}; the key '' is the first one.
export function start(all) {
  views = all;
  addEventListener('hashchange', () => render(true));
  document.addEventListener('loggedout', () => {
    refuse();
    render(false);
  });
  render(false);
}

// refresh shows the current view anew.
export const refresh = () => render(false);

// address gives the view's name, the further parts of the path, and the search parameters.
export function address() {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...parts] = path.split('/');
  return {name, parts, search: new URLSearchParams(search)};
}

async function render(focus) {
  leaving.abort(new DOMException('left', 'AbortError'));
  leaving = new AbortController();
  const {signal} = leaving;
  const {name, parts, search} = address();
  const held = whereabouts(document.activeElement);
  frame(name);
  main.setAttribute('aria-busy', 'true');
  let view;
  try {
    view = await (views[name] ?? views[''])({signal, parts, search});
  } catch (error) {
    if (signal.aborted) return;
    view = failed(error);
  }
  if (signal.aborted) return;
  document.title = `${view.title} · ${t(operating ? 'opsBrand' : 'brand')}`;
  const heading = h('h1', {tabindex: '-1', 'data-testid': 'title'}, view.title);
  show(main, !user() && loginPanel(), heading, view.content);
  main.removeAttribute('aria-busy');
  const again = held && main.querySelector(held);
  if (again) again.focus({preventScroll: true}); // such as a filter that was just changed
  else if (focus) {
    heading.focus({preventScroll: true});
    scrollTo(0, 0);
  }
}

// whereabouts selects the element's counterpart in a view that is made anew.
function whereabouts(element) {
  const steps = [];
  for (let at = element; at && at !== main; at = at.parentElement) {
    if (at === document.body) return '';
    if (at.dataset.testid) steps.unshift(`[data-testid="${at.dataset.testid}"]`);
  }
  return element?.dataset.testid ? steps.join(' ') : '';
}

function failed(error) {
  const text = error.code === undefined ? errorText({}) : error.message;
  return {
    title: t('failed'),
    content: h('div', {class: 'empty', role: 'alert'}, h('p', {}, text),
      h('button', {type: 'button', onclick: refresh}, t('tryAgain'))),
  };
}

// frame fills in what stands around the view.
function frame(name) {
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
  for (const element of document.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll('[data-t-label]')) element.setAttribute('aria-label', t(element.dataset.tLabel));
  for (const link of document.querySelectorAll('#nav a')) {
    const here = link.getAttribute('href') === `#/${views[name] ? name : ''}`;
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const who = user();
  show(document.getElementById('who'),
    h('button', {type: 'button', class: 'quiet', lang: language() === 'zh' ? 'en' : 'zh-CN', 'data-testid': 'language', onclick: switchLanguage},
      language() === 'zh' ? 'English' : '中文'),
    who?.ops && !operating && h('a', {href: 'ops', 'data-testid': 'to-ops'}, t('opsBrand')),
    who && h('span', {class: 'name', 'data-testid': 'user'}, who.name),
    who && h('button', {type: 'button', class: 'quiet', 'data-testid': 'logout', onclick: logOut}, t('logOut')));
}

function switchLanguage() {
  setLanguage(language() === 'zh' ? 'en' : 'zh');
  render(false);
  document.querySelector('[data-testid=language]').focus();
}

function logOut() {
  forget();
  render(false);
  main.focus();
}

// picker lists the demo's users, or says that one has to log in elsewhere. done is called after a log-in.
function picker(done) {
  const place = h('div', {class: 'picker'});
  if (!demo) {
    show(place, h('p', {'data-testid': 'please-log-in'}, t('pleaseLogIn')));
    return place;
  }
  const choose = (who) => async () => {
    await call('demo/login', {method: 'POST', body: {user: who.id}});
    rememberName(who.id, who.name);
    done();
  };
  call('demo/users').then((users) => show(place, users.map((who) => busyButton(
    {class: 'person', 'data-testid': `login-${who.id}`},
    [h('span', {class: 'face', 'aria-hidden': 'true'}, who.name[0]), h('span', {}, who.name), who.ops && h('small', {}, t('operator'))],
    choose(who)))), (error) => show(place, h('p', {role: 'alert'}, error.message)));
  return place;
}

function loginPanel() {
  return h('section', {class: 'login card', 'aria-labelledby': 'login-title', 'data-testid': 'login'},
    h('h2', {id: 'login-title'}, t(demo ? 'pickUser' : 'notLoggedIn')),
    picker(() => {
      render(false);
      main.focus({preventScroll: true});
    }));
}

// loggedIn resolves to true at once for a logged-in user, and otherwise after asking: false if nothing came of it.
export function loggedIn() {
  if (user()) return Promise.resolve(true);
  return new Promise((resolve) => {
    const close = h('button', {type: 'button', class: 'quiet', onclick: () => dialog.close()}, t('close'));
    const dialog = openDialog({title: t(demo ? 'pickUser' : 'notLoggedIn'), testid: 'login-dialog', onclose: () => {
      if (user()) render(false);
      resolve(Boolean(user()));
    }}, picker(() => dialog.close()), h('div', {class: 'buttons'}, close));
  });
}

// pager leads to the pages before and behind this one. to gives the address of a page.
export function pager({page, pageSize, counts}, to) {
  const last = Math.max(1, Math.ceil(counts / pageSize));
  if (last === 1) return null;
  const link = (target, text, testid) => (target < 1 || target > last
    ? h('span', {class: 'off', 'aria-hidden': 'true'}, text)
    : h('a', {href: to(target), 'data-testid': testid}, text));
  return h('nav', {class: 'pager', 'aria-label': t('pages'), 'data-testid': 'pager'},
    link(Number(page) - 1, t('previous'), 'previous'), h('span', {}, t('pageOf', {page, last, counts})), link(Number(page) + 1, t('next'), 'next'));
}
