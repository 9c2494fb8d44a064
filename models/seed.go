package models

import (
	"context"
	"time"

	"gorm.io/gorm/clause"
)

// SeedDemo puts the demo catalogue into an empty content service: free and paid courses of different validity, one of
// them taken offline. Rows that are there already are left alone. No migration does this: a production catalogue comes
// from the content service.
func (s *Store) SeedDemo(ctx context.Context) error {
	online := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	offline := online.AddDate(0, 6, 0)
	full := Money(299_00)
	course := func(id ID, name string, price Money, days int) Course {
		c := Course{
			ID: id, CompanyID: 1232141425, Name: name, Charge: ChargePaid, Price: price, ValidDays: days,
			Status: PublishOnline, OnlineDate: &online,
		}
		if price == 0 {
			c.Charge = ChargeFree
		}
		return c
	}
	courses := []Course{
		course(1, "Java 编程思想", 1_00, 365),
		course(2, "Go 微服务实战", 129_00, 180),
		course(3, "Temporal 工作流入门", 49_90, 30),
		course(4, "Linux 基础（免费）", 0, 365),
		course(5, "支付系统 \"从零\" 到一 & 100% 对账", 1, 7),
		course(6, "已下架的旧课程", 9_90, 365),
	}
	courses[1].OriginalPrice = &full
	courses[5].Status, courses[5].OfflineDate = PublishOffline, &offline
	return s.db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&courses).Error
}
