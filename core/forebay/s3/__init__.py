"""The S3 protocol: requests in, answers out; every meaning lies in `forebay.objects`."""
