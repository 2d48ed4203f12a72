module tools

go 1.25.0

require github.com/buchgr/bazel-remote/v2 v2.6.2
