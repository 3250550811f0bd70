import Model

/// `configs` and `secrets` of a service, in short and long form.
enum FileMountReader {
    static func mount(_ field: Field, isSecret: Bool) throws(ComposeError) -> Service.FileMount {
        let folder = isSecret ? "/run/secrets/" : "/"
        guard field.isMap else {
            let name = try field.word()
            return Service.FileMount(file: name, target: folder + name)
        }
        var reader = try FieldReader(field)
        let name = try reader.require("source").word()
        var mount = Service.FileMount(file: name, target: folder + name)
        if let target = reader.take("target") {
            let path = try target.word()
            guard let clean = MountReader.absolutePath(path.hasPrefix("/") ? path : folder + path), clean != "/" else {
                throw target.fail(.value, "\"\(path)\" is no path in the container")
            }
            mount.target = clean
        }
        mount.uid = try id(reader.take("uid"))
        mount.gid = try id(reader.take("gid"))
        if let mode = reader.take("mode") { mount.mode = try mode.mode() }
        try reader.finish()
        return mount
    }

    private static func id(_ field: Field?) throws(ComposeError) -> UInt32? {
        try field.map { field throws(ComposeError) in UInt32(try field.integer(0...Int64(UInt32.max))) }
    }
}
