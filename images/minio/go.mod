// The server of MinIO, which has no images of its own any more. go.sum holds its sources to their hash, and they in turn
// hold all that they are made of.
module syntrial/images/minio

go 1.26

require github.com/minio/minio v0.0.0-20260212201848-7aac2a2c5b7c
