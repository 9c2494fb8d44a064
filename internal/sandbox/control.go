package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

func (s *Server) routeControl(mux *http.ServeMux) {
	mux.HandleFunc("GET /control/trades", s.getTrades)
	mux.HandleFunc("GET /control/trades/{outTradeNo}", s.onTrade(s.currentTrade))
	mux.HandleFunc("POST /control/trades/{outTradeNo}/login", s.onTrade(s.buyerLogsIn))
	mux.HandleFunc("POST /control/trades/{outTradeNo}/pay", s.onTrade(s.buyerPays))
	mux.HandleFunc("POST /control/trades/{outTradeNo}/close", s.onTrade(s.operatorCloses))
	mux.HandleFunc("POST /control/trades/{outTradeNo}/finish", s.onTrade(s.refundWindowEnds))
	mux.HandleFunc("GET /control/faults", s.getFaults)
	mux.HandleFunc("PUT /control/faults", s.putFaults)
	mux.HandleFunc("GET /control/notifies", s.getNotifies)
	mux.HandleFunc("POST /control/notifies/{id}/resend", s.postResend)
	mux.HandleFunc("POST /control/reset", s.postReset)
}

// onTrade finds the trade that the address names, does deed, and shows the trade.
func (s *Server) onTrade(deed func(tradeKey) (trade, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var key tradeKey
		var err error
		s.store.view(func(st *store) { key, err = st.find(r.PathValue("outTradeNo"), r.URL.Query().Get("app_id")) })
		if err == nil {
			_, err = deed(key)
		}
		if err != nil {
			s.controlError(w, err)
			return
		}
		var view tradeView
		s.store.view(func(st *store) { view = st.viewTrade(key, s.clock(), s.url) })
		writeJSON(w, http.StatusOK, view)
	}
}

func (s *Server) currentTrade(key tradeKey) (t trade, _ error) {
	s.store.view(func(st *store) { t = st.trades[key] })
	return t, nil
}

func (st *store) viewTrade(key tradeKey, now time.Time, base string) tradeView {
	t := st.trades[key].at(now)
	p := t.Page
	return tradeView{
		OutTradeNo: key.OutTradeNo, AppID: key.AppID, SellerID: p.Terms.SellerID, TradeNo: t.TradeNo, TradeStatus: t.Status,
		TotalAmount: p.Terms.Amount.String(), Subject: p.Terms.Subject, NotifyURL: p.NotifyURL, ReturnURL: p.ReturnURL,
		QuitURL: p.QuitURL, CashierURL: base + "/" + cashierPath(p, ""), OpenedAt: p.OpenedAt, TimeExpire: p.ExpireTime,
		GmtCreate: t.CreatedAt, GmtPayment: t.PaidAt, GmtClose: t.ClosedAt, Payable: t.opened(p, now) == nil, RefundFee: t.refunded().String(),
		Notifies: slices.Concat([]string{}, st.byTrade[key]),
	}
}

// listTrades gives the newest limit trades, newest first; 0 means all.
func (s *Server) listTrades(limit int) []tradeView {
	views := []tradeView{}
	s.store.view(func(st *store) {
		for _, key := range slices.Backward(st.tradeOrder) {
			if limit > 0 && len(views) == limit {
				break
			}
			views = append(views, st.viewTrade(key, s.clock(), s.url))
		}
	})
	return views
}

func (s *Server) getTrades(w http.ResponseWriter, r *http.Request) {
	limit, err := limitOf(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, "INVALID_PARAMETER", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, s.listTrades(limit))
}

func limitOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return 0, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		return 0, errors.New("limit is a number from 1")
	}
	return limit, nil
}

func (s *Server) getFaults(w http.ResponseWriter, _ *http.Request) {
	var faults Faults
	s.store.view(func(st *store) { faults = st.faults })
	writeJSON(w, http.StatusOK, faults)
}

func (s *Server) putFaults(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		writeError(w, http.StatusBadRequest, "INVALID_FAULTS", "body too large or cut off")
		return
	}
	faults, err := parseFaults(text)
	if err != nil {
		writeError(w, http.StatusBadRequest, "INVALID_FAULTS", err.Error())
		return
	}
	if err := s.store.update(func(*store) (record, error) { return record{Faults: &faults}, nil }); err != nil {
		s.controlError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, faults)
}

// notifyView is a notification as the control API shows it.
type notifyView struct {
	ID           string            `json:"id"`
	NotifyID     string            `json:"notify_id"`
	AppID        string            `json:"app_id"`
	OutTradeNo   string            `json:"out_trade_no"`
	TradeStatus  string            `json:"trade_status"`
	NotifyURL    string            `json:"notify_url"`
	Fields       map[string]string `json:"fields"`
	Attempts     []Attempt         `json:"attempts"`
	NextAt       *time.Time        `json:"next_at"` // null: no further attempt
	Acknowledged bool              `json:"acknowledged"`
}

func (n notification) view() notifyView {
	view := notifyView{
		ID: n.ID, NotifyID: n.NotifyID, AppID: n.Key.AppID, OutTradeNo: n.Key.OutTradeNo,
		TradeStatus: n.Fields["trade_status"], NotifyURL: n.URL, Fields: n.Fields, Attempts: n.Attempts,
		Acknowledged: n.Acknowledged,
	}
	if !n.NextAt.IsZero() {
		view.NextAt = &n.NextAt
	}
	return view
}

// listNotifies gives the newest limit notifications, newest first, of one out_trade_no or of all; 0 means no limit.
func (s *Server) listNotifies(outTradeNo string, limit int) []notifyView {
	views := []notifyView{}
	s.store.view(func(st *store) {
		ids := st.notifyOrder
		if outTradeNo != "" {
			ids = nil
			for _, key := range st.byOut[outTradeNo] {
				ids = append(ids, st.byTrade[key]...)
			}
		}
		for _, id := range slices.Backward(ids) {
			if limit > 0 && len(views) == limit {
				break
			}
			views = append(views, st.notifies[id].view())
		}
	})
	return views
}

func (s *Server) getNotifies(w http.ResponseWriter, r *http.Request) {
	limit, err := limitOf(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, "INVALID_PARAMETER", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, s.listNotifies(r.URL.Query().Get("out_trade_no"), limit))
}

func (s *Server) postResend(w http.ResponseWriter, r *http.Request) {
	n, err := s.resend(context.WithoutCancel(r.Context()), r.PathValue("id"))
	if err != nil {
		s.controlError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, n.view())
}

func (s *Server) postReset(w http.ResponseWriter, _ *http.Request) {
	if err := s.store.reset(); err != nil {
		s.controlError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// controlError maps an error to the control API's answer, here and nowhere else.
func (s *Server) controlError(w http.ResponseWriter, err error) {
	no, isRefusal := asRefusal(err)
	switch {
	case errors.Is(err, errNeverOpened), errors.Is(err, errNotExist):
		writeError(w, http.StatusNotFound, no.Code, no.Text)
	case isRefusal:
		writeError(w, http.StatusConflict, no.Code, no.Text)
	case errors.Is(err, errAmbiguous):
		writeError(w, http.StatusConflict, "AMBIGUOUS", err.Error())
	case errors.Is(err, errNoSuchNotify):
		writeError(w, http.StatusNotFound, "NOTIFY_NOT_EXIST", "没有这条通知")
	default:
		s.log.Error("control failed", "error", err)
		writeError(w, http.StatusInternalServerError, "INTERNAL", "内部错误")
	}
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]string{"errMessage": message, "code": code})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone: nobody to tell
}
