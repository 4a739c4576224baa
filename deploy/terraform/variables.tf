variable "project" {
  description = "Project of the bus, the job and the counts."
  type        = string
}

variable "keys_project" {
  description = "Project of the keyring: one of its own, since who may open its secrets holds the keys."
  type        = string

  validation {
    condition     = var.keys_project != var.project
    error_message = "The keyring needs a project of its own."
  }
}

variable "region" {
  description = "Region of everything, keys included, such as europe-west3."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "Need a region, not a multi-region."
  }
}

variable "name" {
  description = "Begins the names of all that is made; also the name of the key ring."
  type        = string
  default     = "carrel"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "Need 1 to 20 small letters, digits and hyphens."
  }
}

variable "publishers" {
  description = "Who publishes events, such as serviceAccount:ils@example.iam.gserviceaccount.com."
  type        = set(string)
}

variable "analysts" {
  description = "Who reads the released counts."
  type        = set(string)
  default     = []
}

variable "image_repository" {
  description = "Artifact Registry repository of the image: its name, in the region of this module."
  type        = string
}

variable "subnetwork" {
  description = "regions/REGION/subnetworks/NAME, with Private Google Access."
  type        = string
}

variable "image" {
  description = "What build.sh printed, NAME@sha256:...; null makes everything but the job."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Need an image by its digest."
  }
}

variable "max_workers" {
  description = "Most workers of the job."
  type        = number
  default     = 4
}

variable "notification_channels" {
  description = "Monitoring channels that are told."
  type        = list(string)
}
