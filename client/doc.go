// Package client calls coursepay's API: for learners, who choose a course, pay for it and study, and for operators, who
// look after what went wrong.
//
// A purchase is four calls and a phone: [Client.ChooseCourse], [Client.PayCode] (whose picture the phone scans),
// [Client.Events] until the status is [PayPaid], [Client.LearnStatus].
//
// Whatever the API refuses is an [*Error], with the HTTP status, a code for programs and a message for users. While the
// service is not available (503), requests that can be repeated safely are repeated after the time that it asks for;
// Config.Tries bounds that. Only [Client.Decide] cannot be.
//
// Ids are strings, as the API has them: they are 64-bit numbers, of which JavaScript would lose digits. Prices are exact:
// a [json.Number] holds the digits as they were written. Dates are told in China's time ([Date]). Fields that the API
// leaves out are empty. Statuses are the codes of XueCheng's tables; the constants here name those that decide something.
package client
