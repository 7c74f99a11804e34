# An S3 server over a directory for the test cluster: the program that hack/tools.sh has built, and a shell to look at that directory.
FROM docker.io/library/debian:trixie-slim
COPY --chmod=755 versitygw /usr/local/bin/versitygw
USER 65532:65532
