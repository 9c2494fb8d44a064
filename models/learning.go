package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Courses lists the published courses, newest first.
func (s *Store) Courses(ctx context.Context) ([]Course, error) {
	var courses []Course
	err := s.db.WithContext(ctx).Where("status = ?", PublishOnline).Order("online_date desc, id").Limit(200).Find(&courses).Error
	return courses, err
}

// Course finds one published course; otherwise CodeCourseNotFound.
func (s *Store) Course(ctx context.Context, id ID) (Course, error) {
	return publishedCourse(s.db.WithContext(ctx), id)
}

func publishedCourse(db *gorm.DB, id ID) (Course, error) {
	return first[Course](db.Where("id = ? and status = ?", id, PublishOnline), CodeCourseNotFound)
}

// Enrolment finds the learner's row of the course table and what it entitles to now; nil and LearnNone without one.
func (s *Store) Enrolment(ctx context.Context, userID string, courseID ID) (*CourseTable, LearnStatus, error) {
	row, err := enrolment(s.db.WithContext(ctx), userID, courseID)
	return row, row.Status(s.now()), err
}

func enrolment(db *gorm.DB, userID string, courseID ID) (*CourseTable, error) {
	return maybe[CourseTable](db.Where("user_id = ? and course_id = ?", userID, courseID))
}

// ChooseCourse notes that the learner wants the course. A free course is enrolled at once; a paid one waits for its
// payment. A repeat finds the same row: there is one pending choice a learner and course, and none is made while an
// earlier one is still valid.
func (s *Store) ChooseCourse(ctx context.Context, userID string, courseID ID) (ChooseCourse, LearnStatus, error) {
	var chosen ChooseCourse
	var status LearnStatus
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		course, err := publishedCourse(tx, courseID)
		if err != nil {
			return err
		}
		// One chooser at a time for this learner and course: the rows to lock may not be there yet.
		if err := tx.Exec("select pg_advisory_xact_lock(hashtextextended(?, 0))", userID+"/"+courseID.String()).Error; err != nil {
			return err
		}
		// The pending choice is locked first: a settling that holds it is waited for, and then seen in the course table.
		pending, err := maybe[ChooseCourse](locked(tx).
			Where("user_id = ? and course_id = ? and status = ?", userID, courseID, ChoosePending))
		if err != nil {
			return err
		}
		row, err := enrolment(tx, userID, courseID)
		if err != nil {
			return err
		}
		status = row.Status(s.now())
		if status == LearnNormal {
			chosen, err = first[ChooseCourse](tx.Where("id = ?", row.ChooseCourseID), CodeChooseNotFound)
			return err
		}
		if course.Charge == ChargeFree {
			chosen, err = s.enrolFree(tx, userID, course)
			status = LearnNormal
			return err
		}
		chosen, err = s.choosePaid(tx, userID, course, pending)
		return err
	})
	return chosen, status, err
}

func (s *Store) enrolFree(tx *gorm.DB, userID string, course Course) (ChooseCourse, error) {
	chosen, err := s.newChoice(userID, course, ChooseFree)
	if err != nil {
		return chosen, err
	}
	start := chosen.CreateDate
	end := validUntil(start, course.ValidDays)
	chosen.Status, chosen.ValidtimeStart, chosen.ValidtimeEnd = ChooseDone, &start, &end
	if err := tx.Create(&chosen).Error; err != nil {
		return chosen, err
	}
	return chosen, s.enrol(tx, chosen)
}

// choosePaid keeps the pending choice or makes one. A price that changed since is taken over, unless an open order has
// fixed the old one.
func (s *Store) choosePaid(tx *gorm.DB, userID string, course Course, pending *ChooseCourse) (ChooseCourse, error) {
	if pending == nil {
		chosen, err := s.newChoice(userID, course, ChoosePaid)
		if err != nil {
			return chosen, err
		}
		return chosen, tx.Create(&chosen).Error
	}
	if pending.CoursePrice == course.Price && pending.ValidDays == course.ValidDays && pending.CourseName == course.Name {
		return *pending, nil
	}
	var changed []ChooseCourse
	err := tx.Model(&changed).Clauses(clause.Returning{}).
		Where("id = ? and status = ?", pending.ID, ChoosePending).
		Where("not exists (select 1 from xc_orders where out_business_id = ? and status <> ?)", pending.ID.String(), OrderClosed).
		Updates(map[string]any{"course_price": course.Price, "valid_days": course.ValidDays, "course_name": course.Name}).Error
	if err != nil || len(changed) == 0 {
		return *pending, err
	}
	return changed[0], nil
}

func (s *Store) newChoice(userID string, course Course, kind ChooseType) (ChooseCourse, error) {
	id, err := s.mintID()
	return ChooseCourse{
		ID: id, CourseID: course.ID, CourseName: course.Name, UserID: userID, CompanyID: course.CompanyID,
		OrderType: kind, CreateDate: s.now(), CoursePrice: course.Price, ValidDays: course.ValidDays, Status: ChoosePending,
	}, err
}

// enrol gives the learner the course for the choice's validity. An enrolment that is still valid is extended by the
// choice's days, one that ran out starts anew. Called once a choice, by the transaction that completed it.
func (s *Store) enrol(tx *gorm.DB, chosen ChooseCourse) error {
	id, err := s.mintID()
	if err != nil {
		return err
	}
	return tx.Exec(`
		insert into xc_course_tables as t (id, choose_course_id, user_id, course_id, company_id, course_name, course_type,
		                                   create_date, validtime_start, validtime_end)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		on conflict (user_id, course_id) do update set
		    choose_course_id = excluded.choose_course_id,
		    course_name      = excluded.course_name,
		    course_type      = excluded.course_type,
		    update_date      = excluded.create_date,
		    validtime_start  = case when t.validtime_end > excluded.validtime_start
		                            then t.validtime_start else excluded.validtime_start end,
		    validtime_end    = case when t.validtime_end > excluded.validtime_start
		                            then t.validtime_end + (excluded.validtime_end - excluded.validtime_start)
		                            else excluded.validtime_end end
		where t.choose_course_id <> excluded.choose_course_id`,
		id, chosen.ID, chosen.UserID, chosen.CourseID, chosen.CompanyID, chosen.CourseName, chosen.OrderType,
		s.now(), chosen.ValidtimeStart, chosen.ValidtimeEnd).Error
}

func validUntil(start time.Time, days int) time.Time {
	return start.Add(time.Duration(days) * 24 * time.Hour)
}

// CourseSort is mycoursetable's sortType.
type CourseSort string

// CourseExpiry is mycoursetable's expiresType.
type CourseExpiry string

const (
	SortByStudy CourseSort = "1" // by study time: the last change of the row
	SortByJoin  CourseSort = "2" // by the time of joining

	ExpiresSoon CourseExpiry = "1" // valid, and running out within 30 days
	ExpiresPast CourseExpiry = "2" // run out
)

// CourseTableQuery selects a page of a learner's courses; empty fields select all.
type CourseTableQuery struct {
	UserID     string
	Page, Size int // Page counts from 1
	CourseType ChooseType
	Sort       CourseSort
	Expiry     CourseExpiry
}

// CourseTables gives one page of the learner's courses and how many there are in all.
func (s *Store) CourseTables(ctx context.Context, q CourseTableQuery) ([]CourseTable, int64, error) {
	query := s.db.WithContext(ctx).Model(&CourseTable{}).Where("user_id = ?", q.UserID)
	if q.CourseType != "" {
		query = query.Where("course_type = ?", q.CourseType)
	}
	now := s.now()
	switch q.Expiry {
	case ExpiresSoon:
		query = query.Where("validtime_end > ? and validtime_end <= ?", now, now.AddDate(0, 0, 30))
	case ExpiresPast:
		query = query.Where("validtime_end <= ?", now)
	}
	var total int64
	if err := query.Count(&total).Error; err != nil {
		return nil, 0, err
	}
	order := "create_date desc, id desc"
	if q.Sort == SortByStudy {
		order = "coalesce(update_date, create_date) desc, id desc"
	}
	var rows []CourseTable
	err := query.Order(order).Offset((q.Page - 1) * q.Size).Limit(q.Size).Find(&rows).Error
	return rows, total, err
}
