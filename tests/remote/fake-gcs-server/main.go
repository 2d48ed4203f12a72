// Google's storage as a server for tests: fake-gcs-server, with a front for writing.
//
// Usage: fake-gcs-server ADDRESS BUCKET
//
// fake-gcs-server reads by both of the service's protocols and writes by the JSON API alone, while obstore writes by the XML API
// (https://cloud.google.com/storage/docs/xml-api/overview). The front turns the latter's requests into the former's: PUT of an
// object, on the condition x-goog-if-generation-match or none, and multipart uploads. What is kept, and on what conditions, is
// fake-gcs-server's.
package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

type front struct {
	server  http.Handler
	mutex   sync.Mutex
	uploads map[string]map[int][]byte // parts by upload and number
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, object, isObject := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	upload := query.Get("uploadId")
	switch {
	case !isObject || bucket == "storage" || bucket == "upload":
		f.server.ServeHTTP(w, r)
	case r.Method == http.MethodPost && query.Has("uploads"):
		f.begin(w, bucket, object)
	case r.Method == http.MethodPut && upload != "":
		f.takePart(w, r, upload, query.Get("partNumber"))
	case r.Method == http.MethodPost && upload != "":
		f.complete(w, r, bucket, object, upload)
	case r.Method == http.MethodPut:
		answer := f.insert(r, bucket, object, r.Body)
		if answer.etag != "" {
			w.Header().Set("ETag", answer.etag)
			w.Header().Set("x-goog-generation", answer.generation)
		}
		w.WriteHeader(answer.status)
	default:
		f.server.ServeHTTP(w, r)
	}
}

type inserted struct {
	status           int
	etag, generation string
}

// insert writes an object by the JSON API.
func (f *front) insert(r *http.Request, bucket, object string, body io.Reader) inserted {
	query := url.Values{"uploadType": {"media"}, "name": {object}}
	if generation := r.Header.Get("x-goog-if-generation-match"); generation != "" {
		query.Set("ifGenerationMatch", generation)
	}
	address := fmt.Sprintf("http://%s/upload/storage/v1/b/%s/o?%s", r.Host, bucket, query.Encode())
	request := httptest.NewRequest(http.MethodPost, address, body)
	request.Header.Set("Content-Type", "application/octet-stream")
	recorder := httptest.NewRecorder()
	f.server.ServeHTTP(recorder, request)
	var said struct{ Etag, Generation string }
	if recorder.Code == http.StatusOK {
		if err := json.Unmarshal(recorder.Body.Bytes(), &said); err != nil {
			return inserted{status: http.StatusInternalServerError}
		}
	}
	return inserted{recorder.Code, said.Etag, said.Generation}
}

func (f *front) begin(w http.ResponseWriter, bucket, object string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	upload := strconv.Itoa(len(f.uploads) + 1)
	f.uploads[upload] = map[int][]byte{}
	answer(w, struct {
		XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket, Key, UploadId string
	}{Bucket: bucket, Key: object, UploadId: upload})
}

func (f *front) takePart(w http.ResponseWriter, r *http.Request, upload, part string) {
	number, err := strconv.Atoi(part)
	data, readErr := io.ReadAll(r.Body)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	parts, isOpen := f.uploads[upload]
	if err != nil || readErr != nil || !isOpen {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	parts[number] = data
	w.Header().Set("ETag", fmt.Sprintf("%q", part))
}

func (f *front) complete(w http.ResponseWriter, r *http.Request, bucket, object, upload string) {
	var wanted struct {
		Part []struct{ PartNumber int }
	}
	err := xml.NewDecoder(r.Body).Decode(&wanted)
	f.mutex.Lock()
	parts := f.uploads[upload]
	f.mutex.Unlock()
	var numbers []int
	var whole bytes.Buffer
	for _, one := range wanted.Part {
		numbers = append(numbers, one.PartNumber)
		whole.Write(parts[one.PartNumber])
	}
	if err != nil || len(numbers) != len(parts) || !slices.IsSorted(numbers) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	made := f.insert(r, bucket, object, &whole)
	if made.status != http.StatusOK {
		w.WriteHeader(made.status)
		return
	}
	answer(w, struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
	}{Bucket: bucket, Key: object, ETag: made.etag})
}

func answer(w http.ResponseWriter, content any) {
	w.Header().Set("Content-Type", "application/xml")
	if err := xml.NewEncoder(w).Encode(content); err != nil {
		log.Print(err)
	}
}

func main() {
	address, bucket := os.Args[1], os.Args[2]
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, Scheme: "http", PublicHost: address})
	if err != nil {
		log.Fatal(err)
	}
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	log.Fatal(http.ListenAndServe(address, &front{server: server.HTTPHandler(), uploads: map[string]map[int][]byte{}}))
}
