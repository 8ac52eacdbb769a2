// A libvk_swiftshader.so that is Mesa's lavapipe: it gives headless Chromium a WebGPU with shader-f16 and subgroups of
// 8 on a CPU, which is what the engines compared here need. For measurements alone.
//
// Of all CPUs that play a GPU, Chromium's WebGPU accepts SwiftShader alone, which it loads from its own folder. This
// library takes that place and hands all calls on to lavapipe, with these differences:
//
// - Devices bear SwiftShader's vendor and id.
// - Instances are made for Vulkan 1.3: Chromium asks for the version of SwiftShader's description.
// - Devices claim to index arrays of images and buffers by any value. Dawn insists on it, older versions of lavapipe do
//   not say it of images, and compute shaders over buffers do not do it. What is not true is not asked of lavapipe.
//
// LAVAPIPE, the path of lavapipe's library, is defined where this is compiled.

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))
#define LENGTH(array) (sizeof(array) / sizeof(array[0]))

typedef PFN_vkVoidFunction(VKAPI_PTR *Lookup)(VkInstance, const char *);
typedef VkResult(VKAPI_PTR *Negotiate)(uint32_t *);

static Lookup lavapipe;
// The instance that functions were last looked up for.
static VkInstance newest;

// Lavapipe's own functions.
static PFN_vkCreateInstance create_instance;
static PFN_vkCreateDevice create_device;
static PFN_vkGetPhysicalDeviceProperties get_properties;
static PFN_vkGetPhysicalDeviceProperties2 get_properties2;
static PFN_vkGetPhysicalDeviceFeatures get_features;
static PFN_vkGetPhysicalDeviceFeatures2 get_features2;

static void open_lavapipe(void) {
  if (lavapipe) return;
  void *library = dlopen(LAVAPIPE, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "lavapipe: %s\n", dlerror());
    abort();
  }
  uint32_t version = 5;
  Negotiate negotiate = (Negotiate)dlsym(library, "vk_icdNegotiateLoaderICDInterfaceVersion");
  if (negotiate) negotiate(&version);
  lavapipe = (Lookup)dlsym(library, "vk_icdGetInstanceProcAddr");
}

static VKAPI_ATTR VkResult VKAPI_CALL our_create_instance(const VkInstanceCreateInfo *info,
                                                          const VkAllocationCallbacks *allocator, VkInstance *out) {
  VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO};
  if (info->pApplicationInfo) application = *info->pApplicationInfo;
  if (application.apiVersion < VK_API_VERSION_1_3) application.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo ours = *info;
  ours.pApplicationInfo = &application;
  return create_instance(&ours, allocator, out);
}

static void disguise(VkPhysicalDeviceProperties *properties) {
  properties->vendorID = 0x1AE0;
  properties->deviceID = 0xC0DE;
}

static VKAPI_ATTR void VKAPI_CALL our_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *out) {
  get_properties(device, out);
  disguise(out);
}

static VKAPI_ATTR void VKAPI_CALL our_properties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *out) {
  get_properties2(device, out);
  disguise(&out->properties);
}

static void claim(VkPhysicalDeviceFeatures *features) {
  features->shaderUniformBufferArrayDynamicIndexing = VK_TRUE;
  features->shaderSampledImageArrayDynamicIndexing = VK_TRUE;
  features->shaderStorageBufferArrayDynamicIndexing = VK_TRUE;
  features->shaderStorageImageArrayDynamicIndexing = VK_TRUE;
}

static VKAPI_ATTR void VKAPI_CALL our_features(VkPhysicalDevice device, VkPhysicalDeviceFeatures *out) {
  get_features(device, out);
  claim(out);
}

static VKAPI_ATTR void VKAPI_CALL our_features2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *out) {
  get_features2(device, out);
  claim(&out->features);
}

// Asks for no more of what was claimed than there is.
static void renounce(VkPhysicalDevice device, VkPhysicalDeviceFeatures *asked) {
  VkPhysicalDeviceFeatures had;
  get_features(device, &had);
  asked->shaderUniformBufferArrayDynamicIndexing &= had.shaderUniformBufferArrayDynamicIndexing;
  asked->shaderSampledImageArrayDynamicIndexing &= had.shaderSampledImageArrayDynamicIndexing;
  asked->shaderStorageBufferArrayDynamicIndexing &= had.shaderStorageBufferArrayDynamicIndexing;
  asked->shaderStorageImageArrayDynamicIndexing &= had.shaderStorageImageArrayDynamicIndexing;
}

static VKAPI_ATTR VkResult VKAPI_CALL our_create_device(VkPhysicalDevice device, const VkDeviceCreateInfo *info,
                                                        const VkAllocationCallbacks *allocator, VkDevice *out) {
  VkDeviceCreateInfo ours = *info;
  VkPhysicalDeviceFeatures features;
  if (info->pEnabledFeatures) {
    features = *info->pEnabledFeatures;
    renounce(device, &features);
    ours.pEnabledFeatures = &features;
  }
  for (VkBaseOutStructure *next = (VkBaseOutStructure *)info->pNext; next; next = next->pNext) {
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2) {
      renounce(device, &((VkPhysicalDeviceFeatures2 *)next)->features);
    }
  }
  return create_device(device, &ours, allocator, out);
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vk_icdGetInstanceProcAddr(VkInstance instance, const char *name);

// What is answered here, and where lavapipe's answer is kept.
static const struct {
  const char *name;
  void *ours;
  void *theirs;
} HOOKS[] = {
    {"vkCreateInstance", our_create_instance, &create_instance},
    {"vkCreateDevice", our_create_device, &create_device},
    {"vkGetPhysicalDeviceProperties", our_properties, &get_properties},
    {"vkGetPhysicalDeviceProperties2", our_properties2, &get_properties2},
    {"vkGetPhysicalDeviceProperties2KHR", our_properties2, &get_properties2},
    {"vkGetPhysicalDeviceFeatures", our_features, &get_features},
    {"vkGetPhysicalDeviceFeatures2", our_features2, &get_features2},
    {"vkGetPhysicalDeviceFeatures2KHR", our_features2, &get_features2},
};

PFN_vkVoidFunction VKAPI_CALL vk_icdGetInstanceProcAddr(VkInstance instance, const char *name) {
  open_lavapipe();
  if (strcmp(name, "vkGetInstanceProcAddr") == 0) return (PFN_vkVoidFunction)vk_icdGetInstanceProcAddr;
  if (instance) {
    newest = instance;
    // Devices may be made by who never asked for their features.
    PFN_vkVoidFunction features = lavapipe(instance, "vkGetPhysicalDeviceFeatures");
    get_features = (PFN_vkGetPhysicalDeviceFeatures)features;
  }
  PFN_vkVoidFunction theirs = lavapipe(instance, name);
  for (size_t i = 0; theirs && i < LENGTH(HOOKS); i++) {
    if (strcmp(name, HOOKS[i].name) == 0) {
      *(PFN_vkVoidFunction *)HOOKS[i].theirs = theirs;
      return (PFN_vkVoidFunction)HOOKS[i].ours;
    }
  }
  return theirs;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance instance, const char *name) {
  return vk_icdGetInstanceProcAddr(instance, name);
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vk_icdGetPhysicalDeviceProcAddr(VkInstance instance, const char *name) {
  return vk_icdGetInstanceProcAddr(instance ? instance : newest, name);
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  open_lavapipe();
  if (*version > 5) *version = 5;
  return VK_SUCCESS;
}
