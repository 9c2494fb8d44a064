package devstack

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// Follow copies what our processes log from now on to out, each line with its process's name in front, until ctx ends.
// It says when one has died.
func (s *Stack) Follow(ctx context.Context, out io.Writer) error {
	lines := &progress{out: out}
	faults := make([]error, 0, 3)
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, service := range s.Services()[3:] {
		all.Go(func() {
			err := follow(ctx, service, s.layout.log(service.name), lines)
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, err)
		})
	}
	all.Wait()
	return errors.Join(faults...)
}

func follow(ctx context.Context, service *Service, path string, lines *progress) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	reader, alive := bufio.NewReader(file), true
	for ctx.Err() == nil {
		if err := copyLines(reader, service.name, lines); err != nil {
			return err
		}
		if was := alive; was && service.PID() == 0 {
			lines.printf("%-7s | died; start it again with: coursepay stack start %s", service.name, service.name)
		}
		alive = service.PID() != 0
		pause(ctx, 200*time.Millisecond)
	}
	return nil
}

// copyLines prints what has been written since the last time. A line's last part may come with the next round.
func copyLines(reader *bufio.Reader, name string, lines *progress) error {
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			lines.printf("%-7s | %s", name, line[:len(line)-len(lineEnd(line))])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func lineEnd(line string) string {
	if line[len(line)-1] == '\n' {
		return "\n"
	}
	return ""
}
