package devstack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrGiven is returned when something that the environment names (DATABASE_URL and its like) would have to be started
// or stopped: it is not ours.
var ErrGiven = errors.New("the service is given by the environment and not ours to start or stop")

// server is a program that outlives us: a process or a container.
type server interface {
	start(ctx context.Context) error
	stop(ctx context.Context) error // cleanly; by force when ctx ends. Not running is fine
	kill() error                    // as a crash would. Not running is fine
	pid() int                       // 0: not running
	asWanted() bool                 // runs, and with the settings that it should have
	lastWords(ctx context.Context) string
}

// Service is one part of the stack, on its own port and in its own folder. It lives on when the program that started
// it ends; a later program that names the same folder finds it again. Not for concurrent use.
type Service struct {
	name   string
	server server // nil: given
	limit  time.Duration
	probe  func(ctx context.Context) error
	// Optional steps: before the start, once it answers, after a clean stop, and whenever its pid has changed.
	prepare, settle, release func(ctx context.Context) error
	changed                  func() error
}

var errExited = errors.New("it exited")

// Name is the service's name: postgres, rabbitmq, temporal, sandbox, worker or api.
func (s *Service) Name() string { return s.name }

// PID is the server's process id, 0 when it does not run or is not ours.
func (s *Service) PID() int {
	if s.server == nil {
		return 0
	}
	return s.server.pid()
}

// Given says that the environment names it: it is used and left alone.
func (s *Service) Given() bool { return s.server == nil }

// Start makes sure that it runs as it should and answers. It does nothing when that is so already.
func (s *Service) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("%s was given %v", s.name, s.limit))
	defer cancel()
	if s.server == nil || s.server.asWanted() {
		return errors.Join(s.Ready(ctx), s.notify())
	}
	if err := s.server.stop(ctx); err != nil { // runs with other settings, or has left files behind
		return err
	}
	if s.prepare != nil {
		if err := s.prepare(ctx); err != nil {
			return err
		}
	}
	if err := s.server.start(ctx); err != nil {
		return err
	}
	if err := s.Ready(ctx); err != nil {
		return err
	}
	if s.settle != nil {
		if err := s.settle(ctx); err != nil {
			return fmt.Errorf("set up %s: %w", s.name, err)
		}
	}
	return s.notify()
}

// Ready asks the service until it answers. A server that has exited meanwhile ends the wait; the error then shows the
// end of its log.
func (s *Service) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("%s was given %v", s.name, s.limit))
	defer cancel()
	waiting, stopWaiting := context.WithCancelCause(ctx)
	defer stopWaiting(nil)
	err := eventually(waiting, func(ctx context.Context) error {
		gone := s.server != nil && s.server.pid() == 0 // asked first: one that answers and then exits is no success
		once, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		err := s.probe(once)
		if gone {
			stopWaiting(errExited)
			return errors.Join(errExited, err)
		}
		return err
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s is not ready: %w%s", s.name, err, s.epitaph(ctx))
}

func (s *Service) epitaph(ctx context.Context) string {
	if s.server == nil {
		return ""
	}
	words := s.server.lastWords(ctx)
	if words == "" {
		return ""
	}
	return "\n  the end of its log:\n    " + strings.ReplaceAll(words, "\n", "\n    ")
}

// Stop ends it cleanly. It does nothing when it does not run.
func (s *Service) Stop(ctx context.Context) error {
	if s.server == nil {
		return ErrGiven
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := s.server.stop(ctx)
	if s.release != nil {
		err = errors.Join(err, s.release(ctx))
	}
	return errors.Join(err, s.notify())
}

// Kill ends it as kill -9 or a crash would, and returns when it is gone.
func (s *Service) Kill() error {
	if s.server == nil {
		return ErrGiven
	}
	return errors.Join(s.server.kill(), s.notify())
}

// Restart stops it, if it runs, and starts it on the same port with the same data.
func (s *Service) Restart(ctx context.Context) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	return s.Start(ctx)
}

func (s *Service) notify() error {
	if s.changed == nil {
		return nil
	}
	return s.changed()
}
