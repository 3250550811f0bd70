// ReleaseBundle
