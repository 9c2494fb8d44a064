// The checkout page: courses and materials, one course, what the learner has, and the orders.

import {h, openDialog, busyButton, toast} from './dom.js';
import {call, query, now} from './http.js';
import {t, money, when, day, minute} from './words.js';
import {user} from './session.js';
import {start, refresh, address, loggedIn, pager} from './shell.js';
import {choose, pay, resume, kindOf} from './pay.js';

start({'': courses, course, mine, orders});
resume(() => refresh());

async function courses({signal}) {
  const [all, materials] = await Promise.all([call('content/courses', {signal}), call('content/materials', {signal})]);
  return {
    title: t('coursesTitle'),
    content: [
      h('ul', {class: 'cards', 'data-testid': 'courses'}, all.map(courseCard)),
      h('section', {'aria-labelledby': 'materials'}, h('h2', {id: 'materials'}, t('materials')), h('p', {class: 'dim'}, t('materialsHint')),
        h('ul', {class: 'rows', 'data-testid': 'materials'}, materials.map(materialRow))),
    ],
  };
}

function courseCard(c) {
  return h('li', {class: 'card', 'data-testid': `course-${c.id}`}, cover(c.id, c.name),
    h('div', {class: 'inside'},
      h('h2', {}, h('a', {href: `#/course/${c.id}`}, c.name)),
      h('p', {class: 'dim'}, t('validFor', {days: c.validDays})),
      h('div', {class: 'foot'}, price(c), h('span', {class: 'more', 'aria-hidden': 'true'}, t('details')))));
}

// cover is the course's colour and initial in the place of a picture.
function cover(id, name) {
  return h('div', {class: `cover hue${Number(BigInt(id) % 6n)}`, 'aria-hidden': 'true'}, Array.from(name)[0]);
}

function price({price: now, originalPrice: was}) {
  return h('p', {class: 'price'}, Number(now) === 0 ? t('free') : money(now),
    was && Number(was) > Number(now) && [' ', h('s', {}, h('span', {class: 'unseen'}, t('original')), money(was))]);
}

function materialRow(m) {
  return h('li', {class: 'card row', 'data-testid': `material-${m.id}`}, h('b', {}, m.name), h('span', {class: 'price'}, money(m.price)),
    busyButton({'aria-label': `${t('buy')} ${m.name}`, 'data-testid': `buy-material-${m.id}`}, t('buy'), () => begin('material', m.id)));
}

async function course({signal, parts: [id]}) {
  const [c, standing] = await Promise.all([
    call(`content/courses/${encodeURIComponent(id)}`, {signal}),
    user() ? call(`learning/choosecourse/learnstatus/${encodeURIComponent(id)}`, {method: 'POST', signal}) : {learnStatus: '702002'},
  ]);
  const free = Number(c.price) === 0;
  const labels = {702001: 'goLearn', 702002: 'learnNow', 702003: 'renew'};
  return {
    title: c.name,
    content: h('div', {class: 'detail'}, cover(c.id, c.name),
      h('div', {class: 'card inside'}, price(c), h('p', {}, t('validFor', {days: c.validDays})), learnBadge(standing),
        h('p', {class: 'dim'}, t(free ? 'freeHow' : 'paidHow')),
        h('div', {class: 'buttons'},
          busyButton({class: 'primary', 'data-testid': 'learn-now'}, t(labels[standing.learnStatus]), () => begin('course', c.id)),
          h('a', {class: 'button quiet', href: '#/'}, t('backToCourses'))))),
  };
}

function learnBadge({learnStatus, validtimeEnd}) {
  const [text, tone] = {702001: ['learning', 'good'], 702003: ['expired', 'bad']}[learnStatus] ?? ['notEnrolled', ''];
  return h('p', {'data-testid': 'learn-status'}, badge(t(text), tone), validtimeEnd && [' ', t('until', {date: day(validtimeEnd)})]);
}

const badge = (text, tone) => h('span', {class: `badge ${tone}`}, text);

// begin is 马上学习: what is the learner's already is shown, what is free is theirs at once, all else is paid for.
async function begin(kind, id) {
  if (!(await loggedIn())) return;
  try {
    if (kind === 'course' && (await call(`learning/choosecourse/learnstatus/${id}`, {method: 'POST'})).learnStatus === '702001') {
      toast(t('alreadyYours'));
      location.hash = '#/mine';
      return;
    }
    const goods = await choose(kind, id);
    if (!goods.owned) pay(goods, () => refresh());
    else if (kind === 'course') enrolled(goods);
    else {
      toast(t('alreadyYourMaterial'));
      location.hash = '#/mine/materials';
    }
  } catch (error) {
    tell(error);
  }
}

function tell(error) {
  if (error.code === undefined) throw error;
  toast(error.message);
}

function enrolled(goods) {
  const go = () => {
    dialog.close();
    location.hash = '#/mine';
  };
  const dialog = openDialog({title: t('enrolled'), testid: 'enrolled-dialog', onclose: refresh},
    h('p', {class: 'goods'}, goods.name), goods.validtimeEnd && h('p', {class: 'dim'}, t('until', {date: day(goods.validtimeEnd)})),
    h('div', {class: 'buttons'}, h('button', {type: 'button', class: 'primary', 'data-testid': 'go-learn', onclick: go}, t('goLearn')),
      h('button', {type: 'button', class: 'quiet', onclick: () => dialog.close()}, t('close'))));
}

async function mine({signal, parts: [tab], search}) {
  const tabs = h('nav', {class: 'tabs', 'aria-label': t('mine')}, [['', 'courses'], ['/materials', 'materials']].map(([path, key]) => h('a', {
    href: `#/mine${path}`, 'data-testid': `tab-${key}`, 'aria-current': (tab ?? '') === path.slice(1) && 'page',
  }, t(key))));
  if (!user()) return {title: t('mine'), content: null};
  return {title: t('mine'), content: [tabs, tab === 'materials' ? await myMaterials(signal, search) : await myCourses(signal, search)]};
}

async function myCourses(signal, search) {
  const filter = {courseType: '', sortType: '1', expiresType: '', page: '1', ...Object.fromEntries(search)};
  const page = await call(`learning/mycoursetable${query({...filter, size: 6})}`, {signal});
  const to = (changes) => `#/mine${query({...filter, page: '', ...changes})}`;
  return [
    h('div', {class: 'filters', role: 'group', 'aria-label': t('mine')},
      select('courseType', filter, to, [['', 'all'], ['700001', 'free'], ['700002', 'paidType']], 'courseType'),
      select('sortType', filter, to, [['1', 'byStudy'], ['2', 'byJoin']], 'sort'),
      select('expiresType', filter, to, [['', 'all'], ['1', 'soon'], ['2', 'ranOut']], 'validity')),
    page.items.length === 0 ? empty('noCourses')
      : h('ul', {class: 'rows', 'data-testid': 'my-courses'}, page.items.map(myCourse)),
    pager(page, (n) => to({page: n})),
  ];
}

// select is a choice that is kept in the address.
function select(name, filter, to, options, label) {
  return h('label', {}, t(label), h('select', {
    name, 'data-testid': `filter-${name}`, onchange: async (event) => {
      const {value} = event.currentTarget;
      location.hash = to({[name]: value});
    },
  }, options.map(([value, key]) => h('option', {value, selected: filter[name] === value}, t(key)))));
}

function myCourse(c) {
  const good = c.learnStatus === '702001';
  const days = Math.ceil((when(c.validtimeEnd) - now()) / 86_400_000);
  return h('li', {class: 'card row', 'data-testid': `my-course-${c.courseId}`},
    h('div', {}, h('b', {}, h('a', {href: `#/course/${c.courseId}`}, c.courseName)), ' ', badge(t(good ? 'learning' : 'expired'), good ? 'good' : 'bad'),
      h('p', {class: 'dim'}, t('joined', {date: day(c.createDate)}), ' · ', t('until', {date: minute(c.validtimeEnd)}), good && ` · ${t('daysLeft', {days})}`)),
    h('span', {class: 'dim'}, t(c.courseType === '700001' ? 'free' : 'paidType')),
    !good && busyButton({'aria-label': `${t('renew')} ${c.courseName}`, 'data-testid': `renew-${c.courseId}`}, t('renew'), () => begin('course', c.courseId)));
}

async function myMaterials(signal, search) {
  const page = await call(`learning/mymaterials${query({page: search.get('page'), size: 10})}`, {signal});
  return [
    page.items.length === 0 ? empty('noMaterials') : h('ul', {class: 'rows', 'data-testid': 'my-materials'}, page.items.map((m) => h('li',
      {class: 'card row', 'data-testid': `my-material-${m.materialId}`}, h('b', {}, m.materialName), h('span', {class: 'dim'}, t('boughtOn', {date: day(m.createDate)}))))),
    pager(page, (n) => `#/mine/materials?page=${n}`),
  ];
}

const empty = (key) => h('div', {class: 'empty', 'data-testid': 'empty'}, h('p', {}, t(key)), h('a', {class: 'button', href: '#/'}, t('choose')));

async function orders({signal, search}) {
  if (!user()) return {title: t('orders'), content: null};
  const filter = {status: search.get('status') ?? '', page: search.get('page') ?? '1'};
  const page = await call(`orders/my${query({...filter, size: 8})}`, {signal});
  const to = (changes) => `#/orders${query({status: filter.status, ...changes})}`;
  const statuses = ['600001', '600002', '600003', '600004'].map((code) => [code, code]);
  return {
    title: t('orders'),
    content: [
      h('div', {class: 'filters'}, select('status', filter, to, [['', 'all'], ...statuses], 'orderStatus')),
      page.items.length === 0 ? empty('noOrders') : h('ul', {class: 'rows', 'data-testid': 'my-orders'}, page.items.map(orderRow)),
      pager(page, (n) => to({page: n})),
    ],
  };
}

const tones = {600001: 'warn', 600002: 'good', 600005: 'good'};

function orderRow(o) {
  const payable = o.expireDate && when(o.expireDate) > now();
  return h('li', {class: 'card row order', 'data-testid': `order-${o.id}`},
    h('div', {}, h('b', {}, o.orderName), ' ', h('span', {'data-testid': 'order-status'}, badge(t(o.status), tones[o.status] ?? '')),
      Number(o.refundedTotal) > 0 && [' ', h('span', {'data-testid': 'refunded'}, badge(t('refundedTotal', {amount: money(o.refundedTotal)}), 'warn'))],
      h('p', {class: 'dim'}, t(o.orderType), ' · ', minute(o.createDate), ' · ', t('orderNo'), ' ', h('span', {class: 'number'}, o.id)),
      payable && h('p', {class: 'dim'}, t('payBefore', {date: o.expireDate.slice(11, 16)}))),
    h('span', {class: 'price'}, money(o.totalPrice)), orderButtons(o));
}

function orderButtons(o) {
  const label = (key) => ({'aria-label': `${t(key)} ${o.orderName}`});
  if (o.status === '600001') {
    return h('div', {class: 'buttons'},
      busyButton({class: 'primary', ...label('goOnPaying'), 'data-testid': 'pay-order'}, t('goOnPaying'), () => payOrder(o)),
      h('button', {type: 'button', class: 'quiet', ...label('cancel'), 'data-testid': 'cancel-order', onclick: () => cancel(o)}, t('cancel')));
  }
  if (o.status === '600003' || o.status === '600004') {
    return busyButton({...label('payAgain'), 'data-testid': 'pay-again'}, t('payAgain'), () => begin(kindOf(o.orderType), goodsOf(o)));
  }
  return null;
}

const goodsOf = (o) => String(JSON.parse(o.orderDetail ?? '[{}]')[0].goodsId ?? '');

// payOrder goes on with an order that is open: its price is fixed, whatever the catalogue says meanwhile.
async function payOrder(o) {
  const kind = kindOf(o.orderType);
  const goodsId = goodsOf(o);
  let validDays;
  try {
    if (kind === 'course') ({validDays} = await call(`content/courses/${goodsId}`));
  } catch (error) {
    if (error.status !== 404) {
      tell(error);
      return;
    }
  }
  pay({kind, goodsId, name: o.orderName, price: o.totalPrice, validDays, outBusinessId: o.outBusinessId}, () => refresh());
}

function cancel(o) {
  const problem = h('p', {class: 'problem', role: 'alert'});
  const yes = busyButton({class: 'danger', 'data-testid': 'cancel-yes'}, t('cancelYes'), async () => {
    try {
      await call(`orders/${o.id}/cancel`, {method: 'POST'});
      dialog.close();
      toast(t('cancelled'));
    } catch (error) {
      if (error.code === undefined) throw error;
      problem.textContent = error.message;
    }
    if (address().name === 'orders') refresh();
  });
  const dialog = openDialog({title: t('cancelTitle'), testid: 'cancel-dialog'}, h('p', {}, t('cancelText', {name: o.orderName})), problem,
    h('div', {class: 'buttons'}, yes, h('button', {type: 'button', class: 'quiet', 'data-testid': 'cancel-no', onclick: () => dialog.close()}, t('cancelNo'))));
}
