// HALCON's side of the stand-in: a database of images, tuples, handles, and operators that a .def file describes.
//
// `Package` reads the .def file, opens the shared library as HALCON would, and calls an operator by name. What HALCON checks
// before a supply procedure sees it (number and type of parameters, from the .def file) is checked here as well, and so is what it
// would be damaged by: images that are neither given away nor freed, outputs without a domain, wrong kinds of output values.
#ifndef HALCON_DOUBLE_HPP
#define HALCON_DOUBLE_HPP

#include "Halcon.h"

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace halcon {

struct Channel {
    int kind;
    std::vector<std::uint8_t> bytes;
};

/// An image object: channels of one size, and a domain.
struct Object {
    int width = 0, height = 0;
    std::vector<Channel> channels;
    bool has_domain = false;
    std::vector<Hrun> domain;
    bool complement = false;
    Hrlregion handed{}; // what HGetFDRL points at
};
using ObjectPtr = std::shared_ptr<Object>;

/// An image with the whole image as its domain.
ObjectPtr image(int width, int height, std::vector<Channel> channels);

struct Handle {
    const HHandleInfo *type;
    void *data = nullptr;
    explicit Handle(const HHandleInfo *type);
    Handle(const Handle &) = delete;
    ~Handle();
};

using Value = std::variant<INT4_8, double, std::string, std::shared_ptr<Handle>>;
using Tuple = std::vector<Value>;

struct Outcome {
    Herror code = 0;
    std::string text;
    std::vector<std::vector<ObjectPtr>> objects;
    std::vector<Tuple> tuples;
};

struct Parameter {
    std::string name, sem_type, multivalue;
    std::vector<std::string> types;
};

struct Operator {
    std::string procedure;
    std::vector<Parameter> input_objects, output_objects, input_tuples, output_tuples;
    std::vector<std::string> slots;
};

class Package {
public:
    Package(const std::string &def, const std::string &library);
    Outcome call(const std::string &name, const std::vector<std::vector<ObjectPtr>> &objects, const std::vector<Tuple> &tuples) const;
    const std::map<std::string, Operator> &operators() const { return operators_; }

private:
    std::map<std::string, Operator> operators_;
    void *library_;
};

/// Handles that are alive.
int living_handles();

} // namespace halcon

#endif
