// The operators' page: what waits for a decision, the search for orders, and one order's whole story.

import {h, show, openDialog, busyButton, whileBusy, toast} from './dom.js';
import {call, query, newKey, now, pause} from './http.js';
import {t, known, money, when, minute} from './words.js';
import {user} from './session.js';
import {start, refresh, pager} from './shell.js';

start({'': guarded('attention', attention), search: guarded('searchOrders', search), order: guarded('order', order)});

// guarded keeps a view from asking for what the user may not see: the server would refuse it anyway.
function guarded(title, view) {
  return (where) => {
    if (user()?.ops) return view(where);
    return {title: t(title), content: user() && h('div', {class: 'empty', role: 'alert', 'data-testid': 'no-right'}, h('p', {}, t('noRight')), h('p', {}, t('noRightHint')))};
  };
}

async function attention({signal}) {
  const waits = await call('ops/attention', {signal});
  follow(signal, 'ops/attention', waits);
  return {
    title: t('attention'),
    content: waits.length === 0 ? h('div', {class: 'empty', 'data-testid': 'empty'}, h('p', {}, t('nothingWaits')))
      : h('ul', {class: 'rows', 'data-testid': 'attention'}, waits.map(caseCard)),
  };
}

// follow shows the view anew once the server tells something else than what is shown, and nobody is about to decide.
async function follow(signal, path, shown) {
  const known = JSON.stringify(shown);
  try {
    do await pause(5000, signal);
    while (document.hidden || document.querySelector('dialog') || JSON.stringify(await call(path, {signal})) === known);
    refresh();
  } catch (error) {
    if (!signal.aborted && error.code === undefined) throw error;
  }
}

const facts = (pairs) => h('dl', {class: 'known'}, pairs.filter(([, value]) => value).map(([key, value]) => h('div', {}, h('dt', {}, t(key)), h('dd', {}, value))));
const number = (text) => text && h('span', {class: 'number'}, text);
const badge = (text, tone = '') => h('span', {class: `badge ${tone}`}, text);
const temporal = (link) => link && h('a', {class: 'button quiet', href: link, target: '_blank', rel: 'noopener', 'data-testid': 'temporal'}, t('workflow'));
const labels = {retry: 'retry', refund: 'refund', close: 'end'};

function caseCard(c) {
  return h('li', {class: 'card case', 'data-testid': `case-${c.payNo}`},
    h('header', {}, h('h2', {}, t(c.outRequestNo ? 'parkedRefund' : 'parkedPayment')), h('span', {class: 'dim'}, t('waitsSince', {date: minute(c.since)}))),
    h('p', {class: 'why'}, c.reason),
    facts([['amount', money(c.amount)], ['payNo', number(c.payNo)], ['tradeNo', number(c.tradeNo)], ['requestNo', number(c.outRequestNo)], ['workflowId', number(c.workflowId)]]),
    h('div', {class: 'buttons'}, c.actions.map((action) => h('button', {
      type: 'button', class: action === 'refund' && 'primary', 'data-testid': `decide-${action}`, 'aria-label': `${t(labels[action])} ${c.payNo}`, onclick: () => decide(c, action),
    }, t(labels[action]))),
    c.orderId && h('a', {class: 'button', href: `#/order/${c.orderId}`, 'data-testid': 'story'}, t('story')), temporal(c.workflowLink)));
}

function decide(c, action) {
  const note = h('textarea', {required: true, maxlength: 180, name: 'note', 'data-testid': 'note'});
  ask({
    title: `${t(labels[action])} · ${money(c.amount)}`, testid: 'decide-dialog', submit: t('decide'), danger: action !== 'retry',
    fields: [h('p', {}, t(`${labels[action]}Hint`)), h('p', {class: 'why'}, c.reason), h('label', {}, t('note'), note)],
    send: async () => {
      if (!note.value.trim()) throw new RangeError(t('noteMissing'));
      await call('ops/decisions', {method: 'POST', repeat: false, body: {workflowId: c.workflowId, payNo: c.payNo, action, note: note.value.trim()}});
      toast(t('decided', {action: t(labels[action])}));
    },
  });
}

// ask is a dialog with a form. send does the work; a RangeError of it is about what was filled in.
function ask({title, testid, submit, danger, fields, send}) {
  const problem = h('p', {class: 'problem', role: 'alert'});
  const button = h('button', {type: 'submit', class: danger ? 'danger' : 'primary', 'data-testid': 'submit'}, submit);
  const form = h('form', {novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    whileBusy(button, async () => {
      problem.textContent = '';
      try {
        await send();
        dialog.close();
        refresh();
      } catch (error) {
        if (error.code === undefined && !(error instanceof RangeError)) throw error;
        problem.textContent = error.message;
      }
    });
  }}, fields, problem, h('div', {class: 'buttons'}, button, h('button', {type: 'button', class: 'quiet', onclick: () => dialog.close()}, t('close'))));
  const dialog = openDialog({title, testid}, form);
  form.querySelector('input, textarea').focus();
}

async function search({signal, search: given}) {
  const q = given.get('q') ?? '';
  const field = h('input', {type: 'search', name: 'q', value: q, maxlength: 64, autocomplete: 'off', 'data-testid': 'q'});
  const form = h('form', {class: 'seek', role: 'search', onsubmit: (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (text) location.hash = `#/search${query({q: text})}`;
  }}, h('label', {}, t('searchLabel'), field), h('button', {class: 'primary', 'data-testid': 'search'}, t('search')));
  if (!q) return {title: t('searchOrders'), content: form};
  const page = await call(`ops/orders${query({q, page: given.get('page'), size: 10})}`, {signal});
  return {
    title: t('searchOrders'),
    content: [form, h('p', {class: 'dim', role: 'status', 'data-testid': 'found'}, page.counts === '0' ? t('noneFound') : t('found', {counts: page.counts})),
      h('ul', {class: 'rows', 'data-testid': 'results'}, page.items.map(result)), pager(page, (n) => `#/search${query({q, page: n})}`)],
  };
}

const tones = {600001: 'warn', 600002: 'good', 600005: 'good'};

function result(o) {
  return h('li', {class: 'card row', 'data-testid': `order-${o.id}`},
    h('div', {}, h('b', {}, h('a', {href: `#/order/${o.id}`}, o.orderName)), ' ', badge(t(o.status), tones[o.status]),
      h('p', {class: 'dim'}, number(o.id), ' · ', t('userId'), ' ', o.userId, ' · ', minute(o.createDate))),
    h('span', {class: 'price'}, money(o.totalPrice)));
}

async function order({signal, parts: [id]}) {
  const path = `ops/orders/${encodeURIComponent(id ?? '0')}`;
  const story = await call(path, {signal});
  follow(signal, path, story);
  const o = story.order;
  const left = Number(o.totalPrice) - Number(o.refundedTotal);
  return {
    title: o.orderName,
    content: [
      h('section', {class: 'card overview', 'data-testid': 'overview'},
        h('p', {}, badge(t(o.status), tones[o.status]), ' ', Number(o.refundedTotal) > 0 && badge(t('refundedTotal', {amount: money(o.refundedTotal)}), 'warn')),
        facts([['orderNo', number(o.id)], ['amount', money(o.totalPrice)], ['userId', o.userId], ['bought', t(o.orderType)], ['payNo', number(o.payNo)], ['workflowId', number(story.workflowId)]]),
        h('div', {class: 'buttons'},
          o.status === '600002' && h('button', {type: 'button', 'data-testid': 'refund', onclick: () => giveBack(o, left)}, t('giveBack')), temporal(story.workflowLink))),
      story.attention.filter((c) => !c.decideDate).map((c) => h('ul', {class: 'rows'}, caseCard(c))),
      timeline(story),
    ],
  };
}

function giveBack(o, left) {
  const max = left.toFixed(2);
  const key = newKey(); // one for the dialog: pressing twice gives back once
  const amount = h('input', {inputmode: 'decimal', name: 'amount', value: max, autocomplete: 'off', 'data-testid': 'amount'});
  const reason = h('textarea', {maxlength: 200, name: 'reason', 'data-testid': 'reason'});
  ask({
    title: t('refundTitle'), testid: 'refund-dialog', submit: t('refundSend'), danger: true,
    fields: [h('label', {}, t('refundAmount', {max}), amount), h('label', {}, t('refundReason'), reason)],
    send: async () => {
      const text = amount.value.trim();
      if (!/^\d+(\.\d{1,2})?$/.test(text) || Number(text) <= 0 || Number(text) > Number(max)) throw new RangeError(t('badAmount', {max}));
      if (!reason.value.trim()) throw new RangeError(t('noteMissing'));
      await call(`orders/${o.id}/refunds`, {method: 'POST', key, patience: 15_000, body: {amount: text, reason: reason.value.trim()}});
      toast(t('refundSent'));
    },
  });
}

const hidden = new Set(); // the kinds of entries that the operator does not want to see

// timeline merges everything that is known of an order into one list, in the order of time.
function timeline(story) {
  const entries = events(story).sort((a, b) => a.at.localeCompare(b.at));
  const kinds = [...new Set(entries.map((e) => e.kind))];
  const list = h('ol', {class: 'timeline', 'data-testid': 'timeline'});
  const fill = () => show(list, entries.filter((e) => !hidden.has(e.kind)).map((e) => h('li', {class: e.tone, 'data-kind': e.kind},
    h('time', {datetime: when(e.at).toISOString()}, e.at), badge(t(e.kind)), h('div', {}, e.text, number(e.detail)))));
  fill();
  const box = (kind) => h('label', {}, h('input', {type: 'checkbox', checked: !hidden.has(kind), 'data-testid': `show-${kind}`, onchange: (event) => {
    if (event.currentTarget.checked) hidden.delete(kind);
    else hidden.add(kind);
    fill();
  }}), t(kind));
  return h('section', {'aria-labelledby': 'timeline'}, h('h2', {id: 'timeline'}, t('timeline')),
    h('fieldset', {class: 'kinds'}, h('legend', {}, t('show')), kinds.map(box)), list);
}

const verdicts = {accepted: 'good', refused: 'bad', failed: 'bad'};

function events({order: o, attempts, callbacks, messages, refunds, attention: cases, audit}) {
  const list = [];
  const add = (at, kind, text, detail, tone) => at && list.push({at, kind, text, detail, tone});
  add(o.createDate, 'order', `${t('orderMade')} · ${money(o.totalPrice)}`, o.id);
  for (const a of attempts) {
    add(a.createDate, 'attempt', `${t('codeMade')} · ${money(a.totalPrice)}`, a.payNo);
    add(a.openDate, 'attempt', t('pageOpened'), a.payNo);
    add(a.supersedeDate !== a.closeDate && a.supersedeDate, 'attempt', t('superseded'), a.payNo);
    add(a.status === '601001' && a.closeDate, 'attempt', t('attemptClosed'), a.payNo);
    add(a.status === '601001' && when(a.expireDate) <= now() && a.expireDate, 'attempt', t('attemptExpired'), a.payNo);
    add(a.paySuccessTime, 'attempt', t('attemptPaid'), `${a.payNo} · ${a.outPayNo}`, 'good');
  }
  for (const c of callbacks) add(c.at, 'callback', `${t(c.verdict === 'failed' ? 'failedVerdict' : c.verdict)} · ${c.reason ?? ''}`, `${c.payNo} · ${c.from}`, verdicts[c.verdict]);
  for (const c of cases) {
    add(c.since, 'case', `${t('parked')} · ${c.reason}`, c.payNo, 'warn');
    add(c.decideDate, 'case', `${t(labels[c.decision] ?? 'decide')} · ${c.note ?? ''}`, c.payNo);
  }
  for (const r of refunds) {
    add(r.createDate, 'refund', `${t('refundAsked')} · ${money(r.amount)} · ${r.reason}${r.requestUser ? ` · ${r.requestUser}` : ''}`, r.outRequestNo);
    add(r.refundDate, 'refund', `${t('refundDone')} · ${money(r.amount)}`, r.outRequestNo, 'good');
  }
  for (const m of messages) {
    add(m.at, 'message', `${m.type} · ${t(m.delivered ? 'delivered' : 'undelivered')}${m.failure ? ` · ${m.failure}` : ''}`, m.id, m.delivered ? 'good' : 'warn');
  }
  for (const e of audit) {
    const name = (code) => (known(code) ? t(code) : code);
    const moved = e.toStatus && `${e.fromStatus ? name(e.fromStatus) : '—'} → ${name(e.toStatus)}`;
    add(e.at, 'audit', [e.event, moved, e.note].filter(Boolean).join(' · '), e.payNo);
  }
  return list;
}
