package replay

// Endings names the histories that are kept in testdata/histories, one or more files each: <ending>.json, and
// <ending>.2.json and so on for what the story looked like after a change. internal/e2e drives each ending on the real
// parts, and compares.
var Endings = []string{
	"paid",                        // the callback came
	"paid-found-by-asking",        // the callback was lost; the watch asked
	"paid-found-by-the-learner",   // the callback was lost; the learner's page asked
	"paid-over-a-restart",         // the worker was away when the callback came
	"paid-on-an-old-code",         // a newer code was there already
	"paid-on-an-old-code-in-time", // found when the old code was to be closed for a newer one
	"paid-twice",                  // on two pages
	"paid-twice-refund",           // and the second payment goes back
	"new-code",                    // the old one's page was open, and was closed at Alipay
	"expired",                     // nobody ever opened the code
	"expired-opened",              // somebody opened it, and did not pay
	"cancelled",                   // nobody had opened the code
	"cancelled-opened",            // its page was closed at Alipay
	"cancelled-too-late",          // it turned out to be paid
	"cancelled-paid-late",         // the page stayed open, and took the money: bought after all
	"late-after-the-end",          // the callback came when the story had ended: bought
	"late-not-for-sale",           // the same, and the course is sold no more
	"late-not-for-sale-refund",    // so the money goes back
	"ordered-again",               // after the order had been closed
	"parked",                      // the books refuse a payment; it still waits
	"parked-retry",                // an operator mended it
	"parked-refund",               // an operator gave the money back
	"parked-refund-refund",        // and so it did go back
	"parked-close",                // an operator dealt with it by hand
	"refund-full",                 // asked for by an operator
	"refund-part",                 // of the money
	"refund-refused-by-the-books", // more than was paid
	"refund-parked",               // Alipay refuses it for good; it still waits
	"refund-parked-retry",         // an operator filled up the account
	"refund-parked-close",         // an operator gave up
	"look-again",                  // the story was lost, and the order left open
	"reconcile-sweep",             // what found it
	"reconcile-bill",              // a day's bill
	"reconcile-failed",            // somebody is needed
}
