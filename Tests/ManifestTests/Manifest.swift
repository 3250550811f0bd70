import TestSupport

/// What `Package.swift` and the sources say of the modules, read as text.
struct Manifest {
    /// Module name to floor, from the table at the top of `Package.swift`.
    var floors: [String: Int] = [:]
    /// Module name to the modules and products it declares.
    var declared: [String: Set<String>] = [:]
    /// Module name to the folder of its sources.
    var folders: [String: String] = [:]

    init() throws {
        let text = try Repository.text("Package.swift")
        readFloors(text)
        readTargets(text)
    }

    private mutating func readFloors(_ text: String) {
        for line in text.split(separator: "\n") where line.hasPrefix("//  ") {
            let words = line.dropFirst(4).split(separator: " ")
            guard let first = words.first, let floor = Int(first) else { continue }
            for word in words.dropFirst() {
                guard let initial = word.first, initial.isLetter, word != "module" else { break }
                // Two spaces end the names; what follows is prose, which no target is called by.
                floors[String(word)] = floor
            }
        }
    }

    private mutating func readTargets(_ text: String) {
        for kind in ["library", "executable", "hubLibrary"] {
            var rest = Substring(text)
            while let range = rest.firstRange(of: "\(kind)(") {
                rest = rest[range.upperBound...]
                let head = rest.drop { $0 == "\n" || $0 == " " }
                guard head.first == "\"", let close = head.dropFirst().firstIndex(of: "\"") else { continue }
                let name = String(head[head.index(after: head.startIndex)..<close])
                guard let open = head[close...].firstIndex(of: "["), let end = head[open...].firstIndex(of: "]")
                else { continue }
                let items = head[head.index(after: open)..<end].split { $0 == "," || $0 == "\n" }
                folders[name] = "\(kind.hasPrefix("hub") ? "hub/" : "")Sources/\(name)"
                declared[name] = Set(
                    items.map { String($0.filter { !$0.isWhitespace && $0 != "\"" }) }.filter { !$0.isEmpty })
            }
        }
    }

    func floor(_ module: String) -> Int? {
        if module.hasPrefix("C"), module.dropFirst().first?.isUppercase == true, floors[module] == nil { return 0 }
        return floors[module]
    }

    /// Module names that the files of a target import.
    func imports(of target: String) throws -> [String: Set<String>] {
        var result: [String: Set<String>] = [:]
        for file in try Repository.files(under: folders[target] ?? "Sources/\(target)", suffix: ".swift") {
            var modules: Set<String> = []
            for line in try Repository.text(file).split(separator: "\n") {
                let words = line.split(separator: " ").filter {
                    !["public", "internal", "package", "private", "fileprivate"].contains($0) && !$0.hasPrefix("@")
                }
                guard words.first == "import", words.count >= 2 else { continue }
                let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
                let named = kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
                modules.insert(String(named.prefix { $0 != "." }))
            }
            result[file] = modules
        }
        return result
    }
}
