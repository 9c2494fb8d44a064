package api

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"
)

// operationsOf lists what the description describes, by path and method.
func operationsOf(api *huma.OpenAPI) []*huma.Operation {
	var all []*huma.Operation
	for _, item := range api.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch, item.Head, item.Options, item.Trace} {
			if op != nil {
				all = append(all, op)
			}
		}
	}
	slices.SortFunc(all, func(a, b *huma.Operation) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	return all
}

// tellCommonErrors adds the answers that follow from how an operation is made. What it may answer besides, it lists as its
// own Errors. An operation that was described by hand, which has no handler that the framework knows, has said all already.
func tellCommonErrors(api *huma.OpenAPI) {
	code := api.Components.Schemas.Map()["Error"].Properties["code"]
	for _, known := range slices.Sorted(maps.Keys(statuses)) {
		code.Enum = append(code.Enum, known)
	}
	for _, op := range operationsOf(api) {
		if op.Metadata[byHand] != nil {
			continue
		}
		delete(op.Responses, "default")
		delete(op.Responses, strconv.Itoa(http.StatusUnprocessableEntity)) // the framework's word for our 400
		maps.Copy(op.Responses, refusalResponses(commonErrors(op)...))
	}
}

func commonErrors(op *huma.Operation) []int {
	statuses := []int{http.StatusInternalServerError, http.StatusServiceUnavailable}
	if len(op.Parameters) > 0 || op.RequestBody != nil {
		statuses = append(statuses, http.StatusBadRequest)
	}
	if op.RequestBody != nil {
		statuses = append(statuses, http.StatusRequestEntityTooLarge)
	}
	if len(op.Security) > 0 {
		statuses = append(statuses, http.StatusUnauthorized)
	}
	if op.Metadata[opsOnly] != nil {
		statuses = append(statuses, http.StatusForbidden)
	}
	return statuses
}

// What an operation's Metadata, which is not part of the description, says of it.
const (
	byHand  = "byHand"  // described by hand
	opsOnly = "opsOnly" // for operators
)

// refusalResponses describes answers that are no success.
func refusalResponses(statuses ...int) map[string]*huma.Response {
	responses := map[string]*huma.Response{}
	for _, status := range statuses {
		response := &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{fiber.MIMEApplicationJSON: {Schema: &huma.Schema{Ref: "#/components/schemas/Error"}}},
		}
		if status == http.StatusServiceUnavailable {
			response.Headers = map[string]*huma.Param{
				fiber.HeaderRetryAfter: {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Seconds"},
			}
		}
		responses[strconv.Itoa(status)] = response
	}
	return responses
}

// withAnswer adds the answer of a success.
func withAnswer(refusals map[string]*huma.Response, success *huma.Response) map[string]*huma.Response {
	refusals["200"] = success
	return refusals
}
