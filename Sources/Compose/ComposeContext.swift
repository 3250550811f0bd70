import Base
import Glibc

/// What the readers of a Compose file need beside the document: variables, and the files it names.
struct ComposeContext {
    /// Absolute or relative folder that relative paths in the file start from.
    let folder: String
    let environment: [String: String]
    let fileSystem: FileSystem

    func path(_ text: String) -> String { text.hasPrefix("/") ? text : Path.join(folder, text) }

    /// The bytes of a file that a field names; symlinks are the operator's own and are followed.
    func contents(_ field: Field, of text: String, limit: Int) throws(ComposeError) -> [UInt8] {
        let path = path(text)
        guard let resolved = realpath(path, nil) else {
            throw field.fail(.file, FileSystemError(operation: "open", path: path, errno: errno).message)
        }
        defer { free(resolved) }
        do {
            return try fileSystem.read(String(cString: resolved), limit: limit)
        } catch {
            throw field.fail(.file, error.message, hint: error.errno == EFBIG ? "at most \(ByteCount(limit))" : nil)
        }
    }

    /// One entry of `env_file`: a path, or `{path, required, format}`.
    func environmentFile(_ field: Field) throws(ComposeError) -> [(name: String, value: String)] {
        var source = field
        var isRaw = false
        if field.isMap {
            var reader = try FieldReader(field)
            source = try reader.require("path")
            let isRequired = try reader.bool("required") ?? true
            if let format = reader.take("format") {
                guard try format.word() == "raw" else { throw format.fail(.value, "\(format.shown) is not raw") }
                isRaw = true
            }
            try reader.finish()
            if !isRequired, access(path(try source.word()), F_OK) != 0 { return [] }
        }
        let text = try source.word()
        let bytes = try contents(source, of: text, limit: ComposeLimits.environmentFileSize)
        let file = try EnvironmentFile(bytes, file: path(text), isRaw: isRaw) { environment[$0] }
        var result: [(name: String, value: String)] = []
        for (name, value) in file.entries {
            // A name alone passes the builder's value on.
            guard let value = value ?? environment[name] else { continue }
            result.append((name, value))
        }
        return result
    }
}
