// Choosing, and the popup in which a learner pays: it shows the code, counts down, and changes by itself once the money
// has come. It hears of that over a stream of events, and asks instead while there is no stream.

import {h, show, openDialog, busyButton, toast} from './dom.js';
import {call, newKey, now} from './http.js';
import {t, money, when, day} from './words.js';
import {user} from './session.js';

export const kinds = {
  course: {orderType: '60201', choose: 'learning/choosecourse/'},
  material: {orderType: '60202', choose: 'learning/choosematerial/'},
};

export const kindOf = (orderType) => (orderType === kinds.material.orderType ? 'material' : 'course');

// choose takes the course or material for the learner: {kind, goodsId, name, price, validDays, outBusinessId, owned}.
export async function choose(kind, goodsId) {
  const choice = await call(kinds[kind].choose + goodsId, {method: 'POST'});
  return {
    kind, goodsId, name: choice.courseName ?? choice.materialName, price: choice.coursePrice ?? choice.materialPrice,
    validDays: choice.validDays, outBusinessId: choice.id, owned: choice.status === '701001', validtimeEnd: choice.validtimeEnd,
  };
}

const remembered = 'paying'; // what is being paid, so that reloading the page does not lose the popup

// resume opens the popup again that was open when the page was reloaded.
export function resume(onclose) {
  const kept = JSON.parse(sessionStorage.getItem(remembered) ?? 'null');
  if (kept && kept.user === user()?.id) pay(kept.goods, onclose, kept.record);
}

// pay opens the popup for chosen goods. onclose is told whether they were paid.
export function pay(goods, onclose, record) {
  const popup = new Popup(goods, onclose);
  if (record) popup.take(record);
  else popup.request();
}

class Popup {
  constructor(goods, onclose) {
    this.goods = goods;
    this.state = 'loading';
    this.tries = 0; // codes that this popup has asked for
    this.picture = h('div', {class: 'code'});
    this.clock = h('div', {class: 'clock'});
    this.status = h('p', {class: 'status', role: 'status', 'data-testid': 'pay-status'});
    this.buttons = h('div', {class: 'buttons'});
    this.validity = h('p', {class: 'dim', 'data-testid': 'pay-validity'}, goods.validDays && t('validFor', {days: goods.validDays}));
    this.price = h('p', {class: 'price', 'data-testid': 'pay-price'}, money(goods.price));
    this.body = h('div', {class: 'pay'}, this.picture, h('div', {class: 'facts'},
      h('p', {class: 'goods', 'data-testid': 'pay-name'}, goods.name), this.price, this.validity, this.clock, this.status, this.buttons));
    this.dialog = openDialog({title: t('payTitle'), testid: 'pay-dialog', wide: true, onclose: () => this.closed(onclose)}, this.body);
    this.heading = this.dialog.querySelector('h2');
    this.heading.focus();
    this.ticker = setInterval(() => this.tick(), 1000);
    this.seen = () => document.hidden || this.check(false);
    document.addEventListener('visibilitychange', this.seen);
    this.enter('loading');
  }

  closed(onclose) {
    clearInterval(this.ticker);
    this.stream?.close();
    document.removeEventListener('visibilitychange', this.seen);
    sessionStorage.removeItem(remembered);
    if (['waiting', 'expired'].includes(this.state)) toast(t('keptHint'));
    onclose?.(this.state === 'paid');
    this.state = 'closed';
  }

  // request asks for a code. A refusal because of the price chooses again.
  async request() {
    this.enter('loading');
    try {
      if (this.refusedPrice) await this.chooseAgain();
      const {kind, name, price, outBusinessId, goodsId} = this.goods;
      const {orderType} = kinds[kind];
      const detail = [{goodsId, goodsType: orderType, goodsName: name, goodsPrice: price, goodsDetail: ''}];
      this.take(await call('orders/generatepaycode', {method: 'POST', key: newKey(), body: {
        totalPrice: price, orderType, orderName: name, orderDescrip: '', orderDetail: JSON.stringify(detail), outBusinessId,
      }}));
    } catch (error) {
      if (this.state === 'closed') return;
      if (error.code === 'ORDER_PAID') {
        this.paid();
        return;
      }
      this.refusedPrice = ['PRICE_CHANGED', 'PRICE_MISMATCH', 'GOODS_MISMATCH', 'ORDER_REFUNDED'].includes(error.code);
      this.enter('failed', error.message);
    }
  }

  async chooseAgain() {
    this.goods = await choose(this.goods.kind, this.goods.goodsId);
    this.price.textContent = money(this.goods.price);
  }

  // take shows a pay record with its code, and watches it.
  take(record) {
    if (this.state === 'closed') return;
    this.record = record;
    this.told = record.status;
    this.tries++;
    this.warned = false;
    this.expires = when(record.expireDate).getTime();
    this.asked = this.looked = Date.now();
    this.askPause = 2000;
    sessionStorage.setItem(remembered, JSON.stringify({user: user()?.id, goods: this.goods, record}));
    this.stream?.close();
    this.stream = listen(record.payNo, (told) => this.learn(told));
    this.enter('waiting');
    this.tick();
  }

  // tick counts down, and looks into the books now and then: seldom while the stream stands. Without it Alipay is asked as
  // well, less and less often: that costs more than looking. An expired code is watched on: somebody may be paying it.
  tick() {
    if (!this.open()) return;
    const left = Math.max(0, Math.ceil((this.expires - now()) / 1000));
    if (this.state === 'waiting') this.count(left);
    if (left === 0 && this.state === 'waiting') this.enter('expired');
    const since = Date.now();
    if (!this.stream.live && since - this.asked >= this.askPause) {
      this.askPause = Math.min(this.askPause * 2, 16_000);
      this.check(true);
    } else if (since - this.looked >= (this.stream.live && this.tries === 1 ? 10_000 : 2000)) {
      this.check(false);
    }
  }

  // open says whether this popup may still come to be paid.
  open() {
    return ['waiting', 'expired', 'goesBack'].includes(this.state);
  }

  count(left) {
    const text = `${String(Math.floor(left / 60)).padStart(2, '0')}:${String(left % 60).padStart(2, '0')}`;
    const time = this.clock.querySelector('[role=timer]');
    if (time) time.textContent = text;
    this.clock.classList.toggle('urgent', left <= 60);
    if (left <= 60 && left > 0 && !this.warned) {
      this.warned = true;
      if (this.status.textContent === t('waiting')) this.say(t('oneMinute'));
    }
  }

  // check looks how the order stands, since an earlier code may have been paid, and before that lets Alipay be asked about
  // this one.
  async check(ask) {
    if (this.checking || !this.open()) return;
    this.checking = true;
    try {
      const {payNo, orderId} = this.record;
      if (ask) await this.learn(await call(`orders/payresult?payNo=${payNo}`));
      if (this.open()) this.learnOrder(await call(`orders/${orderId}`));
    } catch (error) {
      if (error.status === 401) this.dialog.close();
      else if (error.status === undefined) throw error;
    } finally {
      this.checking = false;
      this.looked = Date.now();
      if (ask) this.asked = this.looked;
    }
  }

  async learn(record) {
    if (!this.open()) return;
    this.told = record.status;
    if (record.status === '601001') return;
    const order = record.orderStatus ? {status: record.orderStatus} : await call(`orders/${record.orderId}`);
    if (this.open()) this.learnOrder(order);
  }

  // learnOrder shows how the order stands. A payment of this record may have bought nothing: then it goes back.
  learnOrder(order) {
    if (['600002', '600005'].includes(order.status)) this.paid();
    else if (this.told === '601002') this.enter('goesBack');
    else if (order.status === '600004' || this.told === '601003') this.enter('givenBack');
    else if (order.status === '600003' && this.state === 'waiting') this.enter('expired');
  }

  async askNow() {
    this.say(t('asking'));
    await this.check(true);
    if (this.state === 'waiting') this.say(t('notYet'));
  }

  async paid() {
    if (this.state === 'paid' || this.state === 'closed') return;
    this.stream?.close();
    sessionStorage.removeItem(remembered);
    this.enter('paid');
    if (this.goods.kind !== 'course') return;
    const standing = await call(`learning/choosecourse/learnstatus/${this.goods.goodsId}`, {method: 'POST'});
    if (standing.validtimeEnd) this.validity.textContent = t('until', {date: day(standing.validtimeEnd)});
  }

  say(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  // enter shows a state.
  enter(state, text) {
    if (this.state === 'closed' || (this.state === state && state === 'goesBack')) return;
    const hadFocus = this.dialog.contains(document.activeElement);
    this.state = state;
    this.body.dataset.state = state;
    const view = this[`${state}View`](text);
    show(this.picture, view.picture);
    show(this.clock, view.clock);
    show(this.buttons, view.buttons);
    this.say(view.status);
    if (view.title) this.heading.textContent = view.title;
    if (hadFocus && !this.dialog.contains(document.activeElement)) this.heading.focus();
    if (view.title) this.heading.focus();
  }

  loadingView() {
    return {picture: h('div', {class: 'blank', 'aria-hidden': 'true'}), status: t('making'), buttons: [this.later()]};
  }

  waitingView() {
    const {name, price} = this.goods;
    return {
      picture: [
        h('img', {src: this.record.qrcode, width: 200, height: 200, alt: t('qrAlt', {name, price: money(price)}), 'data-testid': 'qrcode'}),
        h('p', {class: 'dim'}, t('scanHint')),
        h('a', {class: 'here', href: `orders/requestpay?payNo=${this.record.payNo}`, target: '_blank', rel: 'noopener', 'data-testid': 'open-here'}, t('openHere')),
      ],
      clock: [h('span', {class: 'dim', id: 'time-left'}, t('timeLeft')),
        h('span', {role: 'timer', 'aria-labelledby': 'time-left', 'aria-live': 'off', 'data-testid': 'countdown'})],
      status: t('waiting'),
      buttons: [busyButton({class: 'primary', 'data-testid': 'pay-done'}, t('payDone'), () => this.askNow()), this.later()],
    };
  }

  expiredView() {
    return {
      picture: [h('img', {src: this.record.qrcode, width: 200, height: 200, alt: '', class: 'spent'}),
        h('p', {class: 'dim'}, t('codeExpiredHint'))],
      status: t('codeExpired'),
      buttons: [this.again(t('newCode'), 'new-code'), this.later()],
    };
  }

  failedView(text) {
    return {picture: h('div', {class: 'blank', 'aria-hidden': 'true'}, '!'), status: text, buttons: [this.again(t('tryAgain'), 'pay-retry'), this.later()]};
  }

  paidView() {
    const course = this.goods.kind === 'course';
    const go = () => {
      this.dialog.close();
      location.hash = course ? '#/mine' : '#/mine/materials';
    };
    return {
      title: t('paid'), picture: h('div', {class: 'tick', 'aria-hidden': 'true'}),
      status: t(course ? 'paidCourse' : 'paidMaterial'),
      buttons: [h('button', {type: 'button', class: 'primary', 'data-testid': 'go-learn', onclick: go}, t(course ? 'goLearn' : 'myMaterials')),
        h('button', {type: 'button', class: 'quiet', 'data-testid': 'pay-close', onclick: () => this.dialog.close()}, t('close'))],
    };
  }

  goesBackView() {
    return {...this.givenBackView(), title: t('goesBack'), status: t('goesBackHint')};
  }

  givenBackView() {
    return {
      title: t('givenBack'), picture: h('div', {class: 'blank', 'aria-hidden': 'true'}, '↺'), status: t('givenBack'),
      buttons: [h('button', {type: 'button', 'data-testid': 'pay-close', onclick: () => this.dialog.close()}, t('close'))],
    };
  }

  again(text, testid) {
    return h('button', {type: 'button', class: 'primary', 'data-testid': testid, onclick: () => this.request()}, text);
  }

  later() {
    return h('button', {type: 'button', class: 'quiet', 'data-testid': 'pay-later', onclick: () => this.dialog.close()}, t('payLater'));
  }
}

// listen streams the record's changes. The browser mends a lost connection by itself; a refused one is tried again here.
// live says whether the stream stands: the server tells the record at once, so one that says nothing is being held back.
function listen(payNo, onrecord) {
  const stream = {live: false};
  let source;
  let timer;
  let wait = 1000;
  const connect = () => {
    source = new EventSource(`orders/events?payNo=${payNo}`);
    source.addEventListener('record', (event) => {
      stream.live = true;
      wait = 1000;
      onrecord(JSON.parse(event.data));
    });
    source.addEventListener('error', () => {
      stream.live = false;
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(connect, wait);
      wait = Math.min(wait * 2, 30_000);
    });
  };
  connect();
  stream.close = () => {
    clearTimeout(timer);
    source.close();
  };
  return stream;
}
