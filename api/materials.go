package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/models"
)

// Material is a published learning material (学习资料).
type Material struct {
	ID        string `json:"id"`
	CompanyID string `json:"companyId"`
	Name      string `json:"name"`
	Price     Price  `json:"price"`
}

func viewMaterial(m models.Material) Material {
	return Material{ID: m.ID.String(), CompanyID: m.CompanyID.String(), Name: m.Name, Price: Price(m.Price)}
}

// ChooseMaterial is a learner's choice of a material.
type ChooseMaterial struct {
	ID            string              `json:"id" doc:"The outBusinessId to pay with, under orderType 60202"`
	MaterialID    string              `json:"materialId"`
	MaterialName  string              `json:"materialName"`
	UserID        string              `json:"userId"`
	CompanyID     string              `json:"companyId"`
	CreateDate    Date                `json:"createDate"`
	MaterialPrice Price               `json:"materialPrice"`
	Status        models.ChooseStatus `json:"status" doc:"701001 may be downloaded, 701002 waits for the payment"`
	Remarks       *string             `json:"remarks,omitempty"`
}

func viewMaterialChoice(c models.ChooseMaterial) ChooseMaterial {
	return ChooseMaterial{
		ID: c.ID.String(), MaterialID: c.MaterialID.String(), MaterialName: c.MaterialName, UserID: c.UserID,
		CompanyID: c.CompanyID.String(), CreateDate: dateOf(c.CreateDate), MaterialPrice: Price(c.MaterialPrice),
		Status: c.Status, Remarks: c.Remarks,
	}
}

// MaterialRight is a material that the learner may download.
type MaterialRight struct {
	ID               string `json:"id"`
	ChooseMaterialID string `json:"chooseMaterialId"`
	UserID           string `json:"userId"`
	MaterialID       string `json:"materialId"`
	MaterialName     string `json:"materialName"`
	CreateDate       Date   `json:"createDate" doc:"When it was paid for"`
}

func viewMaterialRight(r models.MaterialRight) MaterialRight {
	return MaterialRight{
		ID: r.ID.String(), ChooseMaterialID: r.ChooseMaterialID.String(), UserID: r.UserID,
		MaterialID: r.MaterialID.String(), MaterialName: r.MaterialName, CreateDate: dateOf(r.CreateDate),
	}
}

// MaterialPage is one page of a learner's materials. Counts are strings, as in CoursePage.
type MaterialPage struct {
	Items    []MaterialRight `json:"items"`
	Counts   string          `json:"counts"`
	Page     string          `json:"page"`
	PageSize string          `json:"pageSize"`
}

// materialParam is the material in a path.
type materialParam struct {
	ID string `path:"id" pattern:"^[1-9][0-9]{0,18}$" doc:"The material's id"`
}

func (s *Server) materials(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "materials", Method: http.MethodGet, Path: "/content/materials", Summary: "Published learning materials",
	}, s.listMaterials)
	huma.Register(api, s.gated(api, s.forUsers(api, huma.Operation{
		OperationID: "choosematerial", Method: http.MethodPost, Path: "/learning/choosematerial/{id}",
		Summary: "Choose a learning material",
		Description: "The choice waits for its payment: its id is the outBusinessId of generatepaycode with orderType 60202. " +
			"A repeat finds the same choice; its status is 701001 when the learner has the material already.",
		Errors: []int{404},
	}), begins), s.chooseMaterial)
	huma.Register(api, s.forUsers(api, huma.Operation{
		OperationID: "mymaterials", Method: http.MethodGet, Path: "/learning/mymaterials",
		Summary: "The materials that the learner may download",
	}), s.myMaterials)
}

func (s *Server) listMaterials(ctx context.Context, _ *struct{}) (*answer[[]Material], error) {
	materials, err := s.store.Materials(ctx)
	if err != nil {
		return nil, s.fail(ctx, "list materials", err)
	}
	views := make([]Material, len(materials))
	for i, m := range materials {
		views[i] = viewMaterial(m)
	}
	return &answer[[]Material]{views}, nil
}

func (s *Server) chooseMaterial(ctx context.Context, in *materialParam) (*answer[ChooseMaterial], error) {
	id, err := models.ParseID(in.ID)
	if err != nil {
		return nil, errorOf(models.CodeInvalid)
	}
	chosen, err := s.store.ChooseMaterial(ctx, caller(ctx).ID, id)
	if err != nil {
		return nil, s.fail(ctx, "choose material", err)
	}
	return &answer[ChooseMaterial]{viewMaterialChoice(chosen)}, nil
}

type materialPageParams struct {
	Page int `query:"page" minimum:"1" maximum:"1000000" default:"1"`
	Size int `query:"size" minimum:"1" maximum:"100" default:"10"`
}

func (s *Server) myMaterials(ctx context.Context, in *materialPageParams) (*answer[MaterialPage], error) {
	rights, total, err := s.store.MaterialRights(ctx, caller(ctx).ID, in.Page, in.Size)
	if err != nil {
		return nil, s.fail(ctx, "list materials of a learner", err)
	}
	page := MaterialPage{
		Items: make([]MaterialRight, len(rights)), Counts: strconv.FormatInt(total, 10),
		Page: strconv.Itoa(in.Page), PageSize: strconv.Itoa(in.Size),
	}
	for i, r := range rights {
		page.Items[i] = viewMaterialRight(r)
	}
	return &answer[MaterialPage]{page}, nil
}
