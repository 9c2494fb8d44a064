package models

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Material is a row of learning_material, the catalogue of learning materials (学习资料): the source of truth for a
// material's price. All of them cost something.
type Material struct {
	ID         ID
	CompanyID  ID
	Name       string
	Price      Money
	Status     PublishStatus
	CreateDate time.Time
}

// TableName is learning_material.
func (Material) TableName() string { return "learning_material" }

// ChooseMaterial is a row of xc_choose_material: a learner's choice of a material.
type ChooseMaterial struct {
	ID            ID
	MaterialID    ID
	MaterialName  string
	UserID        string
	CompanyID     ID
	MaterialPrice Money
	Status        ChooseStatus
	CreateDate    time.Time
	Remarks       *string
}

// TableName is xc_choose_material.
func (ChooseMaterial) TableName() string { return "xc_choose_material" }

// MaterialRight is a row of xc_material_rights: what a learner may download. It does not run out.
type MaterialRight struct {
	ID               ID
	ChooseMaterialID ID
	UserID           string
	MaterialID       ID
	MaterialName     string
	CreateDate       time.Time // when it was paid for
}

// TableName is xc_material_rights.
func (MaterialRight) TableName() string { return "xc_material_rights" }

// Materials lists the published materials, newest first.
func (s *Store) Materials(ctx context.Context) ([]Material, error) {
	var materials []Material
	err := s.db.WithContext(ctx).Where("status = ?", PublishOnline).Order("create_date desc, id").Limit(200).Find(&materials).Error
	return materials, err
}

func publishedMaterial(db *gorm.DB, id ID) (Material, error) {
	return first[Material](db.Where("id = ? and status = ?", id, PublishOnline), CodeMaterialNotFound)
}

// MaterialRights gives one page (counted from 1) of what the learner may download, the latest first, and how many there
// are in all.
func (s *Store) MaterialRights(ctx context.Context, userID string, page, size int) ([]MaterialRight, int64, error) {
	query := s.db.WithContext(ctx).Model(&MaterialRight{}).Where("user_id = ?", userID)
	var total int64
	if err := query.Count(&total).Error; err != nil {
		return nil, 0, err
	}
	var rights []MaterialRight
	err := query.Order("create_date desc, id desc").Offset((page - 1) * size).Limit(size).Find(&rights).Error
	return rights, total, err
}

func materialRight(db *gorm.DB, userID string, materialID ID) (*MaterialRight, error) {
	return maybe[MaterialRight](db.Where("user_id = ? and material_id = ?", userID, materialID))
}

// ChooseMaterial notes that the learner wants the material; the choice waits for its payment. A repeat finds the same
// row: there is one pending choice a learner and material. A learner who has the right already is told its choice, which
// is done.
func (s *Store) ChooseMaterial(ctx context.Context, userID string, materialID ID) (ChooseMaterial, error) {
	var chosen ChooseMaterial
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		material, err := publishedMaterial(tx, materialID)
		if err != nil {
			return err
		}
		// One chooser at a time for this learner and material: the rows to lock may not be there yet.
		key := "material/" + userID + "/" + materialID.String()
		if err := tx.Exec("select pg_advisory_xact_lock(hashtextextended(?, 0))", key).Error; err != nil {
			return err
		}
		// The pending choice is locked first: a settling that holds it is waited for, and then seen among the rights.
		pending, err := maybe[ChooseMaterial](locked(tx).
			Where("user_id = ? and material_id = ? and status = ?", userID, materialID, ChoosePending))
		if err != nil {
			return err
		}
		right, err := materialRight(tx, userID, materialID)
		if err != nil {
			return err
		}
		if right != nil {
			chosen, err = first[ChooseMaterial](tx.Where("id = ?", right.ChooseMaterialID), CodeChooseNotFound)
			return err
		}
		chosen, err = s.pendingMaterial(tx, userID, material, pending)
		return err
	})
	return chosen, err
}

// pendingMaterial keeps the pending choice or makes one. A price that changed since is taken over, unless an open order
// has fixed the old one.
func (s *Store) pendingMaterial(tx *gorm.DB, userID string, material Material, pending *ChooseMaterial) (ChooseMaterial, error) {
	if pending == nil {
		return s.newMaterialChoice(tx, userID, material)
	}
	if pending.MaterialPrice == material.Price && pending.MaterialName == material.Name {
		return *pending, nil
	}
	var changed []ChooseMaterial
	err := tx.Model(&changed).Clauses(clause.Returning{}).
		Where("id = ? and status = ?", pending.ID, ChoosePending).
		Where("not exists (select 1 from xc_orders where out_business_id = ? and status <> ?)", pending.ID.String(), OrderClosed).
		Updates(map[string]any{"material_price": material.Price, "material_name": material.Name}).Error
	if err != nil || len(changed) == 0 {
		return *pending, err
	}
	return changed[0], nil
}

func (s *Store) newMaterialChoice(tx *gorm.DB, userID string, material Material) (ChooseMaterial, error) {
	id, err := s.mintID()
	if err != nil {
		return ChooseMaterial{}, err
	}
	chosen := ChooseMaterial{
		ID: id, MaterialID: material.ID, MaterialName: material.Name, UserID: userID, CompanyID: material.CompanyID,
		MaterialPrice: material.Price, Status: ChoosePending, CreateDate: s.now(),
	}
	return chosen, tx.Create(&chosen).Error
}

func chosenMaterial(tx *gorm.DB, outBusinessID string) (ChooseMaterial, error) {
	id, err := ParseID(outBusinessID)
	if err != nil {
		return ChooseMaterial{}, Refuse(CodeChooseNotFound, "outBusinessId %q", outBusinessID)
	}
	return first[ChooseMaterial](tx.Where("id = ?", id), CodeChooseNotFound)
}

func findChosenMaterial(_ *Store, tx *gorm.DB, outBusinessID string) (goods, error) {
	chosen, err := chosenMaterial(tx, outBusinessID)
	if err != nil {
		return goods{}, err
	}
	right, err := materialRight(tx, chosen.UserID, chosen.MaterialID)
	if err != nil {
		return goods{}, err
	}
	return goods{
		userID: chosen.UserID,
		name:   chosen.MaterialName,
		price:  chosen.MaterialPrice,
		sold:   chosen.Status == ChooseDone || right != nil,
		lines: []OrderGoods{{
			GoodsID: chosen.MaterialID.String(), GoodsType: string(OrderMaterial), GoodsName: chosen.MaterialName,
			GoodsPrice: chosen.MaterialPrice,
		}},
	}, nil
}

// materialOffered refuses a material that the catalogue no longer sells, or sells at another price than was chosen.
func materialOffered(tx *gorm.DB, g goods) error {
	for _, line := range g.lines {
		id, err := ParseID(line.GoodsID)
		if err != nil {
			return Refuse(CodeMaterialNotFound, "goods id %q", line.GoodsID)
		}
		material, err := publishedMaterial(tx, id)
		if err != nil {
			return err
		}
		if material.Price != line.GoodsPrice {
			return Refuse(CodePriceChanged, "chosen at %s, now %s", line.GoodsPrice, material.Price)
		}
	}
	return nil
}

// fulfilChosenMaterial completes the choice and grants the right, or puts it back where it is missing.
func fulfilChosenMaterial(s *Store, tx *gorm.DB, order Order, paidAt time.Time) error {
	chosen, err := chosenMaterial(tx, order.OutBusinessID)
	if err != nil {
		return err
	}
	err = tx.Model(&ChooseMaterial{}).Where("id = ? and status in ?", chosen.ID, before(chooseTransitions, ChooseDone)).
		Update("status", ChooseDone).Error
	if err != nil {
		return fmt.Errorf("complete the choice of a material: %w", err)
	}
	id, err := s.mintID()
	if err != nil {
		return err
	}
	right := MaterialRight{
		ID: id, ChooseMaterialID: chosen.ID, UserID: chosen.UserID, MaterialID: chosen.MaterialID,
		MaterialName: chosen.MaterialName, CreateDate: paidAt,
	}
	return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&right).Error
}

// revokeChosenMaterial takes away the right that this choice gave; the learner may choose the material anew.
func revokeChosenMaterial(_ *Store, tx *gorm.DB, order Order) error {
	id, err := ParseID(order.OutBusinessID)
	if err != nil {
		return Refuse(CodeChooseNotFound, "out_business_id %q", order.OutBusinessID)
	}
	if err := tx.Where("choose_material_id = ?", id).Delete(&MaterialRight{}).Error; err != nil {
		return err
	}
	return tx.Model(&ChooseMaterial{}).Where("id = ?", id).Update("remarks", Label(OrderRefunded)).Error
}
