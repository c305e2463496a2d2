package server

import (
	"errors"
	"net/http"

	"wend/storage"
)

// postErase makes a customer disappear. It answers when that is durable; how
// far the rewriting of the files is, getErase tells.
func (s *Server) postErase(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Customer string `json:"customer"`
		After    string `json:"after"`
		Lift     bool   `json:"lift"`
	}
	if err := decodeBody(r, &req); err != nil {
		return err
	}
	if req.Customer == "" {
		return badRequest("no_customer", "an erasure needs a customer", `send {"customer": "customer-7", "after": "allow"}`)
	}
	if req.After == "" {
		req.After = storage.Allow.String()
	}
	after, ok := storage.ParseAfter(req.After)
	if !ok {
		return badRequest("bad_after", "after is neither allow nor suppress", "allow lets later events of the customer count, suppress refuses them")
	}
	if req.Lift && after == storage.Suppress {
		return badRequest("bad_after", "lift lets later events count, and suppress refuses them", "send one of them")
	}
	var receipt storage.Receipt
	err := s.change(func() (err error) {
		receipt, err = s.db.EraseWith(r.Context(), req.Customer, storage.EraseOptions{After: after, Lift: req.Lift})
		return err
	})
	if errors.Is(err, storage.ErrOldFormat) {
		return &apiError{Status: http.StatusConflict, Code: "old_format", Message: "the store's format has no erasures", Hint: "stop the server and run wend upgrade"}
	}
	if err != nil {
		return err
	}
	s.log.Info("a customer is erased", "erasure", receipt.ID)
	return writeJSON(w, http.StatusAccepted, receipt)
}

// getErase tells how far an erasure is.
func (s *Server) getErase(w http.ResponseWriter, r *http.Request) error {
	receipt, err := s.db.Receipt(r.PathValue("id"))
	if errors.Is(err, storage.ErrNotFound) {
		return &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "there is no erasure of this id"}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, receipt)
}
