package models

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// demoCompany publishes everything in the demo catalogue.
const demoCompany = ID(1232141425)

// SeedDemo puts the demo catalogue into an empty content service. Rows that are there already are left alone. No migration
// does this: a production catalogue comes from the content service.
func (s *Store) SeedDemo(ctx context.Context) error {
	published := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	fresh := s.db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Session(&gorm.Session{})
	courses, materials := demoCourses(published), demoMaterials(published)
	if err := fresh.Create(&courses).Error; err != nil {
		return fmt.Errorf("demo courses: %w", err)
	}
	if err := fresh.Create(&materials).Error; err != nil {
		return fmt.Errorf("demo materials: %w", err)
	}
	return nil
}

// demoCourses are free and paid courses of different validity, one of them taken offline.
func demoCourses(published time.Time) []Course {
	course := func(id ID, name string, price Money, days int) Course {
		c := Course{
			ID: id, CompanyID: demoCompany, Name: name, Charge: ChargePaid, Price: price, ValidDays: days,
			Status: PublishOnline, OnlineDate: &published,
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
	full, offline := Money(299_00), published.AddDate(0, 6, 0)
	courses[1].OriginalPrice = &full
	courses[5].Status, courses[5].OfflineDate = PublishOffline, &offline
	return courses
}

// demoMaterials are learning materials, one of them taken offline.
func demoMaterials(published time.Time) []Material {
	material := func(id ID, name string, price Money, status PublishStatus) Material {
		return Material{ID: id, CompanyID: demoCompany, Name: name, Price: price, Status: status, CreateDate: published}
	}
	return []Material{
		material(101, "Go 微服务实战 配套源码", 19_90, PublishOnline),
		material(102, "Java 面试题精选 300 题", 9_90, PublishOnline),
		material(103, "支付系统 \"对账\" 手册 & 模板", 1, PublishOnline),
		material(104, "已下架的旧讲义", 5_00, PublishOffline),
	}
}
