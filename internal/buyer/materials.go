package buyer

import (
	"context"
	"encoding/json"
	"net/http"
)

// Material is a learning material on offer. Price is kept as it was written.
type Material struct {
	ID, Name string
	Price    json.Number
}

// MaterialChoice is a chosen material.
type MaterialChoice struct {
	ID, MaterialID, MaterialName string
	MaterialPrice                json.Number
	Status, Remarks              string
}

// MaterialRight is a material that the learner may download.
type MaterialRight struct {
	ChooseMaterialID, MaterialID, MaterialName, CreateDate string
}

// Materials lists the materials on offer.
func (l *Learner) Materials(ctx context.Context) ([]Material, error) {
	var materials []Material
	return materials, l.call(ctx, http.MethodGet, "/content/materials", nil, &materials)
}

// ChooseMaterial chooses a material.
func (l *Learner) ChooseMaterial(ctx context.Context, materialID string) (MaterialChoice, error) {
	var choice MaterialChoice
	return choice, l.call(ctx, http.MethodPost, "/learning/choosematerial/"+materialID, nil, &choice)
}

// RequestMaterialCode asks for a QR code to pay a chosen material with.
func (l *Learner) RequestMaterialCode(ctx context.Context, c MaterialChoice) (PayRecord, error) {
	detail, err := json.Marshal([]map[string]any{{
		"goodsId": c.MaterialID, "goodsType": "60202", "goodsName": c.MaterialName, "goodsPrice": c.MaterialPrice,
	}})
	if err != nil {
		return PayRecord{}, err
	}
	var record PayRecord
	return record, l.call(ctx, http.MethodPost, "/orders/generatepaycode", map[string]any{
		"totalPrice": c.MaterialPrice, "orderType": "60202", "orderName": c.MaterialName, "orderDescrip": "",
		"orderDetail": string(detail), "outBusinessId": c.ID,
	}, &record)
}

// MyMaterials lists the first hundred materials that the learner may download, the latest first.
func (l *Learner) MyMaterials(ctx context.Context) ([]MaterialRight, error) {
	var page struct{ Items []MaterialRight }
	err := l.call(ctx, http.MethodGet, "/learning/mymaterials?size=100", nil, &page)
	return page.Items, err
}
