import Base
import OCI
import Testing

@Suite struct ImageReferenceTests {
    @Test(arguments: [
        "busybox", "busybox:1.36", "library/busybox", "localhost/app:x", "registry.example:5000/a/b__c/d-e.f:V1_2.3-x",
        "a@sha256:\(String(repeating: "0", count: 64))", "host.io/a:t@sha256:\(String(repeating: "a", count: 64))",
        "a--b/c",
    ])
    func wellFormedReferencesComeBackAsTheyWere(text: String) throws {
        #expect(try ImageReference(text).description == text)
    }

    @Test(arguments: [
        "", ":", "a:", "A", "a/B", "/a", "a/", "a//b", "a..b", "a_-b", "-a", "a-", "a:.x", "a:-x", "a b", "a:b c",
        "a@sha256:00", "a@md5:00", "host:99999/a", "a___b", "a:\(String(repeating: "t", count: 129))",
        String(repeating: "a", count: 256), "a@sha256:\(String(repeating: "A", count: 64))", "é",
    ])
    func malformedReferencesAreRefused(text: String) {
        #expect(throws: OCIError.self) { try ImageReference(text) }
    }

    @Test func aHostIsToldFromAPath() throws {
        #expect(try ImageReference("app/web").host == nil)
        #expect(try ImageReference("app.io/web").host == "app.io")
        #expect(try ImageReference("app:80/web").host == "app:80")
    }

    @Test func imageSourcesAreParsed() throws {
        #expect(try ImageSource("oci:dir") == .layout(directory: "dir", tag: nil))
        #expect(try ImageSource("oci:/a/dir:v1") == .layout(directory: "/a/dir", tag: "v1"))
        #expect(try ImageSource("oci-archive:a.tar:x") == .layoutArchive(file: "a.tar", tag: "x"))
        #expect(
            try ImageSource("docker-archive:a.tar:demo:1") == .dockerArchive(file: "a.tar", reference: "demo:1"))
        #expect(try ImageSource("docker:demo:1") == .engine(reference: "demo:1"))
        for text in ["", "oci", "oci:", "docker://docker.io/x", "ftp:x", "busybox"] {
            #expect(throws: OCIError.self) { try ImageSource(text) }
        }
    }
}
