package buyer

import (
	"context"

	"coursepay/client"
)

type (
	// Material is a learning material on offer.
	Material = client.Material
	// MaterialChoice is a chosen material.
	MaterialChoice = client.ChooseMaterial
	// MaterialRight is a material that the learner may download.
	MaterialRight = client.MaterialRight
)

// RequestMaterialCode asks for a QR code to pay a chosen material with.
func (l *Learner) RequestMaterialCode(ctx context.Context, c MaterialChoice) (PayRecord, error) {
	return l.PayCode(ctx, c.PayCode())
}

// MyMaterials lists the first hundred materials that the learner may download, the latest first.
func (l *Learner) MyMaterials(ctx context.Context) ([]MaterialRight, error) {
	page, err := l.Client.MyMaterials(ctx, client.Page{Size: 100})
	return page.Items, err
}
