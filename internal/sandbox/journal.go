package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// journal is the state file: JSON lines, one change each, so that a change costs the same with ten trades or ten
// thousand. It survives the death of the process at any moment; it is not synced against a power cut.
type journal struct {
	path  string
	lock  *flock.Flock // beside the file, which is replaced now and then; the system frees it when the process dies
	file  *os.File
	size  int64
	lines int
}

var (
	errDamaged = errors.New("state file is damaged: remove it to start afresh")
	errInUse   = errors.New("state file is in use by another sandbox")
)

// openJournal takes the file for this process and gives the changes that it holds.
func openJournal(path string) (*journal, []record, error) {
	j := &journal{path: path, lock: flock.New(path + ".lock")}
	locked, err := j.lock.TryLock()
	if err != nil {
		return nil, nil, fmt.Errorf("state file: %w", err)
	}
	if !locked {
		return nil, nil, fmt.Errorf("%s: %w", path, errInUse)
	}
	records, err := readJournal(path)
	if err != nil {
		return nil, nil, errors.Join(err, j.lock.Unlock())
	}
	return j, records, nil
}

// readJournal gives the changes in order. The last line may be torn by a crash: nobody was told of it, so it is dropped.
func readJournal(path string) ([]record, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	defer file.Close() //nolint:errcheck // read only
	return readRecords(bufio.NewReader(file), path)
}

func readRecords(in *bufio.Reader, path string) ([]record, error) {
	var records []record
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, fmt.Errorf("state file: %w", err)
		}
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, len(records)+1, errDamaged)
		}
		records = append(records, r)
	}
}

// rewrite replaces the file with records and goes on appending to it.
func (j *journal) rewrite(records []record) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, r := range records {
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("state file: %w", err)
		}
	}
	if err := replaceFile(j.path, text.Bytes(), 0o600); err != nil {
		return err
	}
	file, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	old := j.file
	j.file, j.size, j.lines = file, int64(text.Len()), len(records)
	if old != nil {
		_ = old.Close() // replaced; its lines are in the new file
	}
	return nil
}

func (j *journal) append(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	line = append(line, '\n')
	if _, err := j.file.Write(line); err != nil {
		// Half a line would swallow the next one.
		return errors.Join(fmt.Errorf("state file: %w", err), j.file.Truncate(j.size))
	}
	j.size += int64(len(line))
	j.lines++
	return nil
}

func (j *journal) close() error { return errors.Join(j.file.Close(), j.lock.Unlock()) }

// replaceFile writes a neighbour and renames it, so that path is always whole.
func replaceFile(path string, text []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Chmod(mode), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temp.Name()))
	}
	return nil
}
