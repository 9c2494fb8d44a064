package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/models"
)

// courseParam is the course in a path.
type courseParam struct {
	ID string `path:"id" pattern:"^[1-9][0-9]{0,18}$" doc:"The course's id"`
}

func (p courseParam) id() (models.ID, error) {
	id, err := models.ParseID(p.ID)
	if err != nil {
		return 0, errorOf(models.CodeInvalid)
	}
	return id, nil
}

type answer[T any] struct{ Body T }

func (s *Server) catalogue(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "courses", Method: http.MethodGet, Path: "/content/courses", Summary: "Published courses",
	}, func(ctx context.Context, _ *struct{}) (*answer[[]Course], error) {
		courses, err := s.store.Courses(ctx)
		if err != nil {
			return nil, s.fail(ctx, "list courses", err)
		}
		views := make([]Course, len(courses))
		for i, c := range courses {
			views[i] = viewCourse(c)
		}
		return &answer[[]Course]{views}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "course", Method: http.MethodGet, Path: "/content/courses/{id}", Summary: "One published course",
		Errors: []int{404},
	}, func(ctx context.Context, in *courseParam) (*answer[Course], error) {
		id, err := in.id()
		if err != nil {
			return nil, err
		}
		course, err := s.store.Course(ctx, id)
		if err != nil {
			return nil, s.fail(ctx, "find course", err)
		}
		return &answer[Course]{viewCourse(course)}, nil
	})
}

func (s *Server) learning(api huma.API) {
	huma.Register(api, s.gated(api, s.forUsers(api, huma.Operation{
		OperationID: "choosecourse", Method: http.MethodPost, Path: "/learning/choosecourse/{id}",
		Summary:     "Choose a course",
		Description: "A free course is enrolled at once, a paid one waits for its payment. A repeat finds the same choice.",
		Errors:      []int{404},
	}), begins), s.chooseCourse)
	huma.Register(api, s.forUsers(api, huma.Operation{
		OperationID: "learnstatus", Method: http.MethodPost, Path: "/learning/choosecourse/learnstatus/{id}",
		Summary: "What the learner may do with a course", Errors: []int{404},
	}), s.learnStatus)
	huma.Register(api, s.forUsers(api, huma.Operation{
		OperationID: "mycoursetable", Method: http.MethodGet, Path: "/learning/mycoursetable", Summary: "The learner's courses",
	}), s.myCourseTable)
}

func (s *Server) chooseCourse(ctx context.Context, in *courseParam) (*answer[ChooseCourse], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	chosen, status, err := s.store.ChooseCourse(ctx, caller(ctx).ID, id)
	if err != nil {
		return nil, s.fail(ctx, "choose course", err)
	}
	return &answer[ChooseCourse]{viewChoice(chosen, status)}, nil
}

func (s *Server) learnStatus(ctx context.Context, in *courseParam) (*answer[Enrolment], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	row, status, err := s.store.Enrolment(ctx, caller(ctx).ID, id)
	if err != nil {
		return nil, s.fail(ctx, "find enrolment", err)
	}
	return &answer[Enrolment]{viewEnrolment(row, status)}, nil
}

type courseTableParams struct {
	Page       int    `query:"page" minimum:"1" maximum:"1000000" default:"1"`
	Size       int    `query:"size" minimum:"1" maximum:"100" default:"10"`
	CourseType string `query:"courseType" pattern:"^(700001|700002)?$" doc:"700001 free, 700002 paid, empty for all"`
	Sort       string `query:"sortType" pattern:"^[12]?$" doc:"1 by study time, 2 by the time of joining"`
	Expiry     string `query:"expiresType" pattern:"^[12]?$" doc:"1 running out within 30 days, 2 run out"`
}

func (s *Server) myCourseTable(ctx context.Context, in *courseTableParams) (*answer[CoursePage], error) {
	rows, total, err := s.store.CourseTables(ctx, models.CourseTableQuery{
		UserID: caller(ctx).ID, Page: in.Page, Size: in.Size, CourseType: models.ChooseType(in.CourseType),
		Sort: models.CourseSort(in.Sort), Expiry: models.CourseExpiry(in.Expiry),
	})
	if err != nil {
		return nil, s.fail(ctx, "list courses of a learner", err)
	}
	page := CoursePage{
		Items: make([]Enrolment, len(rows)), Counts: strconv.FormatInt(total, 10),
		Page: strconv.Itoa(in.Page), PageSize: strconv.Itoa(in.Size),
	}
	for i := range rows {
		page.Items[i] = viewEnrolment(&rows[i], rows[i].Status(s.now()))
	}
	return &answer[CoursePage]{page}, nil
}
