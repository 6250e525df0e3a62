package fills

import (
	"encoding/json"
	"net/http"
	"time"

	"shoal/internal/shoal"
)

// headTime bounds how long a client may take to begin its question.
const headTime = 5 * time.Second

// NewServer answers by a Filler. What lies under its errors is not sent.
func NewServer(f Filler) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(respond(f, w, r)) // the client may be gone
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: headTime, ReadTimeout: answerTime}
}

func respond(f Filler, w http.ResponseWriter, r *http.Request) answer {
	var q question
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsked)).Decode(&q); err != nil {
		return refusal(shoal.ErrBadRequest.New("The question cannot be read"))
	}
	if len(q.Wanted) > shoal.MaxFill {
		return refusal(shoal.ErrBadRequest.New("%d placeholders are too many", len(q.Wanted)))
	}
	values, err := f.Fill(r.Context(), q.SandboxID, q.Domain, q.Wanted)
	if err != nil {
		return refusal(err)
	}
	a := answer{Values: make([]string, len(q.Wanted))}
	for i, p := range q.Wanted {
		value, ok := values[p]
		if !ok {
			return refusal(shoal.ErrFillRefused.New("A placeholder has no value"))
		}
		a.Values[i] = value
	}
	return a
}

func refusal(err error) answer {
	known := shoal.AsError(err)
	return answer{Code: known.Code, Message: known.Message, Detail: known.Detail}
}
