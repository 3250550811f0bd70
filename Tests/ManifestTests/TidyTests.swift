import TestSupport
import Testing

/// House rules that a reader should not have to watch for.
@Suite struct TidyTests {
    @Test(arguments: ["try!", "TODO", "FIXME", "fatalError(", "as!", "@unchecked Sendable"])
    func sourcesAreFreeOf(_ phrase: String) throws {
        let files = try ["Sources", "hub/Sources"].flatMap { try Repository.files(under: $0, suffix: ".swift") }
        for file in files {
            let lines = try Repository.text(file).split(separator: "\n", omittingEmptySubsequences: false)
            for (index, line) in lines.enumerated() where line.contains(phrase) {
                if phrase == "@unchecked Sendable", line.drop(while: { $0 == " " }).hasPrefix("//") { continue }
                // The one exception: unchecked sendability whose proof stands in a comment above it.
                let proven =
                    phrase == "@unchecked Sendable"
                    && lines[max(0, index - 8)..<index].contains { $0.contains("//") && $0.contains("Sendable") }
                #expect(proven, "\(file):\(index + 1) contains \(phrase)")
            }
        }
    }

    @Test func everyModuleHasAParagraph() throws {
        let text = try Repository.text("ARCHITECTURE.md")
        for name in try Manifest().declared.keys {
            let parts = text.components(separatedBy: "\n### \(name)\n")
            #expect(parts.count == 2, "ARCHITECTURE.md needs one section for \(name)")
            let body = parts.last?.components(separatedBy: "\n#").first ?? ""
            #expect(body.count > 120, "ARCHITECTURE.md says too little of \(name)")
        }
    }

    @Test func theReadmeNamesEverySystemPackage() throws {
        let readme = try Repository.text("README.md")
        for line in try Repository.text("tools/setup").split(separator: "\n") where line.hasPrefix("    \"lib") {
            let name = line.dropFirst(5).prefix { $0 != ":" }
            #expect(readme.contains(name), "README.md does not name \(name)")
        }
    }

    @Test func noTrackedTextNamesAMachinePath() throws {
        let forbidden = ["/" + "work/main", "/" + "opt/swift", "/" + "tmp/hf"]
        for folder in ["Sources", "Tests", "tools", "agent-config", "hub"] {
            for file in try Repository.files(under: folder, suffix: "") {
                guard let text = try? Repository.text(file) else { continue }
                for path in forbidden { #expect(!text.contains(path), "\(file) names \(path)") }
            }
        }
    }
}

extension StringProtocol {
    fileprivate func components(separatedBy separator: String) -> [Substring] {
        var parts: [Substring] = []
        var rest = Substring(self)
        while let range = rest.firstRange(of: separator) {
            parts.append(rest[..<range.lowerBound])
            rest = rest[range.upperBound...]
        }
        return parts + [rest]
    }
}
