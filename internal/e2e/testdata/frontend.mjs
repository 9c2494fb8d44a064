// The XueCheng front end's way through a purchase, in its own language, with what it does to the answers. Everything it
// needs to know comes from the service. Usage: node frontend.mjs <origin> <base> <course>; the environment variable
// JWT is what the log-in left in the cookie. A QR code to scan goes to stdout, as one line of JSON; whoever started this
// has a phone.
import assert from 'node:assert/strict';

const [origin, base, courseId] = process.argv.slice(2);
const jwt = process.env.JWT;

// request is what axios does for the front end: JSON both ways, the token out of the cookie into the header, and an
// exception that carries the answer for everything that is no success.
async function request(method, path, { data, params, token = jwt } = {}) {
  const query = params ? `?${new URLSearchParams(params)}` : '';
  const headers = { Accept: 'application/json, text/plain, */*' };
  if (token) {
    headers.Authorization = `Bearer ${token}`;
    headers.Cookie = `jwt=${token}`;
  }
  if (data) headers['Content-Type'] = 'application/json;charset=UTF-8';
  const response = await fetch(origin + base + path + query, { method, headers, body: data && JSON.stringify(data) });
  const text = await response.text();
  losesNothing(text);
  const answer = { status: response.status, data: JSON.parse(text) };
  if (!response.ok) throw Object.assign(new Error(`HTTP ${response.status}`), { response: answer });
  return answer;
}

// losesNothing: JavaScript's numbers hold 15 digits, so no longer one may stand in an answer; and what is null is left out.
function losesNothing(text) {
  const bare = text.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  assert.doesNotMatch(bare, /null/, text);
  for (const number of bare.match(/-?\d+(?:\.\d+)?/g) ?? []) {
    assert.ok(number.replace(/\D/g, '').length <= 15, `${number} loses digits in ${text}`);
  }
}

// refused is what the front end shows when a request fails.
async function refused(method, path, options) {
  try {
    await request(method, path, options);
  } catch (error) {
    if (!error.response) throw error;
    return error.response.data.errMessage || '系统错误';
  }
  return assert.fail(`${method} ${path} was not refused`);
}

const isId = (value) => assert.match(value, /^[1-9]\d*$/);
const isDate = (value) => {
  assert.match(value, /^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$/);
  assert.ok(!Number.isNaN(new Date(value.replace(/-/g, '/')).getTime())); // as the front end makes a Date of it
};

// whoAmI reads the token as the page's head does.
function whoAmI() {
  const payload = JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url').toString());
  return JSON.parse(payload.user_name).id;
}

const learnStatus = (id) => request('POST', `/learning/choosecourse/learnstatus/${id}`);
const chooseCourse = (id) => request('POST', `/learning/choosecourse/${id}`);
const payResult = (payNo) => request('GET', '/orders/payresult', { params: { payNo } });

function payCode(choice) {
  return request('POST', '/orders/generatepaycode', {
    data: {
      totalPrice: choice.coursePrice,
      orderType: '60201',
      orderName: choice.courseName,
      orderDescrip: choice.courseName,
      orderDetail: JSON.stringify([{
        goodsId: choice.courseId,
        goodsType: '60201',
        goodsName: choice.courseName,
        goodsPrice: choice.coursePrice,
        goodsDetail: '',
      }]),
      outBusinessId: choice.id,
    },
  });
}

function myCourses(changes) {
  return request('GET', '/learning/mycoursetable', {
    params: { page: 1, size: 4, startIndex: 0, userId: '', courseType: '', sortType: '1', expiresType: '', ...changes },
  });
}

const later = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// 马上学习, without and with a log-in.
assert.equal(await refused('POST', `/learning/choosecourse/${courseId}`, { token: '' }), '请登录后继续选课');
let res = await learnStatus(courseId);
assert.deepEqual(res.data, { learnStatus: '702002' });
assert.deepEqual((await myCourses()).data, { items: [], counts: '0', page: '1', pageSize: '4' });

// The pay popup: 支付宝支付.
const choice = (await chooseCourse(courseId)).data;
isId(choice.id);
assert.equal(choice.courseId, courseId);
assert.equal(choice.userId, whoAmI());
assert.equal(typeof choice.coursePrice, 'number');
assert.equal(typeof choice.validDays, 'number');
isDate(choice.createDate);
assert.ok(choice.status == '701002' && choice.orderType == '700002' && choice.learnStatus == '702002'); // eslint-disable-line eqeqeq
const record = (await payCode(choice)).data;
[record.id, record.payNo, record.orderId].forEach(isId);
[record.createDate, record.expireDate].forEach(isDate);
assert.equal(record.totalPrice, choice.coursePrice);
assert.equal(record.orderName, choice.courseName);
assert.ok(record.qrcode.startsWith('data:image/png;base64,'));

// 支付完成, too early: not paid.
res = await payResult(record.payNo);
assert.ok(res.data.status == '601001'); // eslint-disable-line eqeqeq
assert.ok(!('paySuccessTime' in res.data) && !('outPayNo' in res.data) && !('qrcode' in res.data));

// The phone scans, and the learner clicks 支付完成 until it is.
console.log(JSON.stringify({ scan: record.qrcode }));
for (;;) {
  res = await payResult(record.payNo);
  if (res.data.status == '601002') break; // eslint-disable-line eqeqeq
  await later(100);
}
isDate(res.data.paySuccessTime);
assert.equal(typeof res.data.outPayNo, 'string');
assert.equal(res.data.payNo, record.payNo);

// The course is there; paying again is refused in words that users know.
for (;;) {
  res = await learnStatus(courseId);
  if (res.data.learnStatus == '702001') break; // eslint-disable-line eqeqeq
  await later(100);
}
const enrolment = res.data;
[enrolment.id, enrolment.chooseCourseId].forEach(isId);
assert.equal(enrolment.chooseCourseId, choice.id);
[enrolment.createDate, enrolment.validtimeStart, enrolment.validtimeEnd].forEach(isDate);
const page = (await myCourses()).data;
assert.deepEqual(page, { items: [enrolment], counts: '1', page: '1', pageSize: '4' });
assert.equal((await myCourses({ sortType: '2', courseType: '700002' })).data.items[0].courseId, courseId);
assert.deepEqual((await myCourses({ expiresType: '2' })).data.items, []);
assert.deepEqual((await myCourses({ courseType: '700001' })).data.items, []);
assert.deepEqual((await myCourses({ page: 2 })).data, { items: [], counts: '1', page: '2', pageSize: '4' });
const again = {
  data: { totalPrice: choice.coursePrice, orderType: '60201', orderName: choice.courseName, orderDetail: '[]', outBusinessId: choice.id },
};
assert.equal(await refused('POST', '/orders/generatepaycode', again), '订单已支付');
assert.equal(await refused('GET', '/orders/payresult', { params: { payNo: '4711' } }), '支付记录不存在');
assert.equal(await refused('GET', '/orders/requestpay', { params: { payNo: record.payNo }, token: '' }), '支付已经成功，无需重复支付');

// A free course is enrolled at once.
const free = (await chooseCourse('4')).data;
assert.ok(free.learnStatus == '702001' && free.orderType == '700001' && free.status == '701001'); // eslint-disable-line eqeqeq
assert.equal(free.coursePrice, 0);
assert.equal((await learnStatus('4')).data.learnStatus, '702001');
assert.equal((await myCourses({ sortType: '2' })).data.counts, '2');

console.log(JSON.stringify({ paid: record.payNo }));
