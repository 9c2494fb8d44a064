package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
)

// store holds everything that the sandbox remembers. Values are replaced whole and never changed in place, so what a
// reader was handed stays valid. With a journal, a change is on disk before anybody hears of it.
type store struct {
	mu      sync.Mutex
	journal *journal // nil: memory only

	trades     map[tradeKey]trade
	tradeOrder []tradeKey            // as first opened
	byOut      map[string][]tradeKey // several apps may use one number
	byTradeNo  map[string]tradeKey
	pages      map[string]page // by token

	notifies    map[string]notification // by id
	notifyOrder []string
	byNotifyID  map[string]string
	byTrade     map[tradeKey][]string
	seq         int64 // of the newest notification

	faults    Faults
	faultBase int64            // seq when the faults were set: notifications are numbered from there
	drawn     map[string]int64 // how often each kind of gateway fault was thrown for since then
}

// record is one change: a line of the journal.
type record struct {
	Pages    []page         `json:"pages,omitempty"`
	Trades   []trade        `json:"trades,omitempty"`
	Notifies []notification `json:"notifies,omitempty"`
	Faults   *Faults        `json:"faults,omitempty"`
}

// openStore reads the state file, when there is one, and compacts it.
func openStore(path string) (*store, error) {
	st := &store{}
	st.clear()
	if path == "" {
		return st, nil
	}
	j, records, err := openJournal(path)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		st.apply(r)
	}
	if err := j.rewrite(st.snapshot()); err != nil {
		return nil, errors.Join(err, j.lock.Unlock())
	}
	st.journal = j
	return st, nil
}

func (st *store) clear() {
	st.trades, st.tradeOrder = map[tradeKey]trade{}, nil
	st.byOut, st.byTradeNo = map[string][]tradeKey{}, map[string]tradeKey{}
	st.pages = map[string]page{}
	st.notifies, st.notifyOrder = map[string]notification{}, nil
	st.byNotifyID, st.byTrade = map[string]string{}, map[tradeKey][]string{}
	st.setFaults(Faults{})
}

// reset forgets everything but the running numbers.
func (st *store) reset() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.journal != nil {
		if err := st.journal.rewrite(nil); err != nil {
			return err
		}
	}
	st.clear()
	return nil
}

func (st *store) close() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.journal == nil {
		return nil
	}
	return st.journal.close()
}

// view runs read under the lock; it may keep the values that it saw.
func (st *store) view(read func(*store)) {
	st.mu.Lock()
	defer st.mu.Unlock()
	read(st)
}

// update asks change for a record under the lock, writes it to the journal and applies it. Nothing happens when
// change fails or the journal cannot be written.
func (st *store) update(change func(*store) (record, error)) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	r, err := change(st)
	if err != nil {
		return err
	}
	if err := st.write(r); err != nil {
		return err
	}
	st.apply(r)
	return nil
}

func (st *store) write(r record) error {
	if st.journal == nil {
		return nil
	}
	if live := len(st.trades) + len(st.pages) + len(st.notifies); st.journal.lines > 1000+4*live {
		if err := st.journal.rewrite(st.snapshot()); err != nil {
			return err
		}
	}
	return st.journal.append(r)
}

func (st *store) apply(r record) {
	for _, p := range r.Pages {
		st.pages[p.Token] = p
	}
	for _, t := range r.Trades {
		st.putTrade(t)
	}
	for _, n := range r.Notifies {
		st.putNotify(n)
	}
	if r.Faults != nil {
		st.setFaults(*r.Faults)
	}
}

func (st *store) putTrade(t trade) {
	key := t.Page.Key
	if _, known := st.trades[key]; !known {
		st.tradeOrder = append(st.tradeOrder, key)
		st.byOut[key.OutTradeNo] = append(st.byOut[key.OutTradeNo], key)
	}
	st.trades[key] = t
	if t.TradeNo != "" {
		st.byTradeNo[t.TradeNo] = key
	}
}

func (st *store) putNotify(n notification) {
	if _, known := st.notifies[n.ID]; !known {
		st.notifyOrder = append(st.notifyOrder, n.ID)
		st.byNotifyID[n.NotifyID] = n.ID
		st.byTrade[n.Key] = append(st.byTrade[n.Key], n.ID)
		st.seq = max(st.seq, n.Seq)
	}
	st.notifies[n.ID] = n
}

func (st *store) setFaults(f Faults) {
	st.faults, st.faultBase, st.drawn = f, st.seq, map[string]int64{}
}

// snapshot is the whole state as one record a trade.
func (st *store) snapshot() []record {
	records := []record{{Faults: &st.faults}}
	for _, p := range slices.SortedFunc(maps.Values(st.pages), func(a, b page) int { return a.OpenedAt.Compare(b.OpenedAt) }) {
		records = append(records, record{Pages: []page{p}})
	}
	for _, key := range st.tradeOrder {
		records = append(records, record{Trades: []trade{st.trades[key]}})
	}
	for _, id := range st.notifyOrder {
		records = append(records, record{Notifies: []notification{st.notifies[id]}})
	}
	return records
}

// notify finds a notification by its id or its notify_id.
func (st *store) notify(id string) (notification, bool) {
	if byNotifyID, ok := st.byNotifyID[id]; ok {
		id = byNotifyID
	}
	n, ok := st.notifies[id]
	return n, ok
}

// nextSeq numbers the next notification; its id is the number.
func (st *store) nextSeq() (int64, string) {
	return st.seq + 1, strconv.FormatInt(st.seq+1, 10)
}

// find resolves an out_trade_no, which is enough as long as only one app uses it.
func (st *store) find(outTradeNo, appID string) (tradeKey, error) {
	if appID != "" {
		key := tradeKey{AppID: appID, OutTradeNo: outTradeNo}
		if _, ok := st.trades[key]; !ok {
			return key, errNeverOpened
		}
		return key, nil
	}
	keys := st.byOut[outTradeNo]
	switch len(keys) {
	case 0:
		return tradeKey{}, errNeverOpened
	case 1:
		return keys[0], nil
	}
	return tradeKey{}, fmt.Errorf("%d apps: %w", len(keys), errAmbiguous)
}
